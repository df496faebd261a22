/*
 * The userspace API's set: any lines change the device within its limits or are refused with an errno, and get shows it.
 * Nothing leaves the machine: the socket's sendmsg is replaced, and lines that name a port to bind are not tried.
 */
#include "os/udp_internal.h"
#include "test/fuzz/fuzz.h"
#include "tunnel/tunnel_internal.h"

static struct tunnel *tun;

static ssize_t send_nothing(int fd, const struct msghdr *m, int flags)
{
	size_t len = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++)
		len += m->msg_iov[i].iov_len;
	return (ssize_t)len;
}

static void start(void)
{
	struct tunnel_config cfg = { .n_addrs = 1, .aead = "libsodium" };

	if (tun)
		return;
	os_udp_sendmsg = send_nothing;
	memset(cfg.private_key.b, 9, KEY_LEN);
	if (ip_prefix_parse("10.99.0.1/24", &cfg.addrs[0]) != OK || tunnel_open(os_loop_new(), &cfg, &tun) != OK)
		abort();
}

static int request(const char *text, size_t size, char **ret)
{
	char *in = malloc(size + 2);
	size_t len;
	FILE *f = open_memstream(ret, &len);

	if (!in || !f)
		abort();
	memcpy(in, text, size);
	in[size] = '\0';
	tunnel_uapi_answer(tun, in, f);
	fclose(f);
	free(in);
	ASSERT(len >= 9 && strcmp(*ret + len - 2, "\n\n") == 0);
	return atoi(strstr(*ret, "errno=") + 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char reset[] = "set=1\nreplace_peers=true\n";
	char *text = fuzz_text(data, size), *answer;

	fuzz_quiet();
	start();
	if (!strstr(text, "listen_port")) {
		ASSERT(request(reset, strlen(reset), &answer) == 0);
		free(answer);
		ASSERT(request(text, strlen(text), &answer) <= 0);
		free(answer);
		ASSERT(request("get=1\n", 6, &answer) == 0);
		free(answer);
	}
	free(text);
	return 0;
}
