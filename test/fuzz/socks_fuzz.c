/* SOCKS5 negotiation: the first byte chooses how the rest is cut into reads; the outcome must not depend on it. */
#include <stdlib.h>
#include <string.h>

#include "operator/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	enum socks_state state;
	uint8_t out[64];
	size_t n_out, used;
	char host[256];
	uint16_t port;
};

static struct outcome run(const uint8_t *p, size_t len, size_t cut, const char *login)
{
	struct outcome o = { 0 };
	struct socks s;

	socks_init(&s, login);
	while (o.used < len && s.state < SOCKS_DONE) {
		size_t take = len - o.used < cut ? len - o.used : cut, used, n;
		uint8_t out[SOCKS_OUT_MAX];

		socks_input(&s, p + o.used, take, &used, out, &n);
		if (used > take || n > sizeof(out) || o.n_out + n > sizeof(o.out))
			abort();
		memcpy(o.out + o.n_out, out, n);
		o.n_out += n;
		o.used += used;
	}
	o.state = s.state;
	o.port = s.port;
	if (s.state == SOCKS_DONE)
		strcpy(o.host, s.host);
	if (s.state == SOCKS_DONE && (!o.host[0] || !o.port))
		abort();
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome a, b;
	const char *login;

	if (size < 1)
		return 0;
	login = data[0] & 0x80 ? "u:p" : NULL;
	a = run(data + 1, size - 1, size, login);
	b = run(data + 1, size - 1, (data[0] & 0x7f) + 1u, login);
	if (a.state != b.state || a.used != b.used || a.n_out != b.n_out || a.port != b.port ||
	    memcmp(a.out, b.out, a.n_out) != 0 || strcmp(a.host, b.host) != 0)
		abort();
	return 0;
}
