/* The userspace API's requests against a real tunnel: each gets an errno, and "get" always answers. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tunnel/tunnel_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tunnel *tunnel;

static void ignore_line(enum log_level level, const char *line)
{
}

static void start(void)
{
	struct tunnel_config cfg = { .n_addrs = 1, .private_key = { { 9 } } };

	log_set(LOG_ERROR, ignore_line);
	ASSERT(ip_prefix_parse("10.99.0.1/24", &cfg.addrs[0]) == OK);
	ASSERT(tunnel_open(os_loop_new(), &cfg, &tunnel) == OK);
}

/* Return: errno, as it is on the wire. */
static int request(char *text, char **ret)
{
	size_t len = 0;
	const char *e;

	*ret = NULL;
	tunnel_uapi_answer(tunnel, text, ret, &len);
	ASSERT(*ret && len >= 9 && strcmp(*ret + len - 2, "\n\n") == 0);
	e = strstr(*ret, "errno=");
	ASSERT(e);
	return atoi(e + 6);
}

/* No input may take ports of this machine, or send anywhere but into the void. */
static void disarm(char *text, const char *word)
{
	for (char *p = text; (p = strstr(p, word)); p++)
		p[0] = '_';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text, *out, *shown, *clear = strdup("set=1\nreplace_peers=true\n\n");

	if (!tunnel)
		start();
	text = malloc(size + 7);
	ASSERT(text && clear);
	memcpy(text, "set=1\n", 6);
	memcpy(text + 6, data, size);
	text[size + 6] = '\0';
	disarm(text, "listen_port");
	disarm(text, "endpoint");
	ASSERT(request(text, &out) <= 0);
	free(out);
	free(text);
	text = strdup("get=1\n\n");
	ASSERT(text && request(text, &shown) == 0);
	free(text);
	free(shown);
	ASSERT(request(clear, &out) == 0);
	free(out);
	free(clear);
	return 0;
}
