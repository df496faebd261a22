/*
 * operator/cmd_wg.c - `nefia wg show | showconf | set`: the wg tool's view of a running hub or agent.
 *
 * It speaks WireGuard's userspace API to NAME.sock and prints as wg does, for machines without wg. What is set here
 * lasts until the next reload, which restores the file. Each value is looked at before it is sent: the other side says no more than
 * an errno.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/addr.h"
#include "base/encode.h"
#include "operator/cmd.h"
#include "operator/wg_socket.h"
#include "operator/wg_view.h"
#include "os/file.h"

/* ---- set ---- */

struct request {
	char text[65536];
	size_t len;
	char why[300]; /* empty: well so far */
};

static void put(struct request *r, const char *key, const char *value)
{
	int n = snprintf(r->text + r->len, sizeof(r->text) - r->len, "%s=%s\n", key, value);

	if (n < 0 || (size_t)n >= sizeof(r->text) - r->len)
		snprintf(r->why, sizeof(r->why), "too many settings at once");
	else
		r->len += (size_t)n;
}

/* False: it is none, and nothing is put. */
static bool put_key(struct request *r, const char *name, const char *text)
{
	char hex[2 * KEY_LEN + 1];
	uint8_t raw[KEY_LEN];

	if (key_from_base64(text, raw) != OK)
		return false;
	put(r, name, sodium_bin2hex(hex, sizeof(hex), raw, sizeof(raw)));
	sodium_memzero(raw, sizeof(raw));
	sodium_memzero(hex, sizeof(hex));
	return true;
}

/*
 * Keys come from files, as with wg: an argument could be read by others. An empty file takes the key away. What is in it is shown to
 * nobody, also when it is no key: it may be one with a letter too many.
 */
static void put_key_file(struct request *r, const char *name, const char *path)
{
	static const char none[] = "0000000000000000000000000000000000000000000000000000000000000000";
	char *text;
	size_t len, size;
	enum err e;

	if (strcmp(path, "/dev/null") == 0) {
		put(r, name, none);
		return;
	}
	e = os_file_read(path, 4096, &text, &len);
	if (e != OK) {
		snprintf(r->why, sizeof(r->why), "cannot read the key file %.150s: %s", path, err_text(e));
		return;
	}
	size = len;
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
		text[--len] = '\0';
	if (len == 0)
		put(r, name, none);
	else if (!put_key(r, name, text))
		snprintf(r->why, sizeof(r->why), "there is no key in %.150s: 44 characters of base64", path);
	sodium_memzero(text, size);
	free(text);
}

static void put_peer(struct request *r, const char *text)
{
	if (!put_key(r, "public_key", text))
		snprintf(r->why, sizeof(r->why), "'%.50s' is not a key: 44 characters of base64", text);
}

static void put_number(struct request *r, const char *name, const char *what, const char *value)
{
	char plain[8];
	int n;

	if (option_number(value, &n) != NULL || n > UINT16_MAX) {
		snprintf(r->why, sizeof(r->why), "'%.60s' is not %s", value, what);
		return;
	}
	snprintf(plain, sizeof(plain), "%d", n);
	put(r, name, plain);
}

static void put_endpoint(struct request *r, const char *value)
{
	struct endpoint ep;
	char plain[ENDPOINT_STR_MAX];

	if (endpoint_parse(value, &ep) == OK && endpoint_is_set(&ep))
		put(r, "endpoint", endpoint_format(&ep, plain));
	else
		snprintf(r->why, sizeof(r->why), "'%.60s' is not ADDRESS:PORT, in numbers", value);
}

static void put_allowed(struct request *r, const char *list)
{
	char copy[4096], *save = NULL;

	if (snprintf(copy, sizeof(copy), "%s", list) >= (int)sizeof(copy)) {
		snprintf(r->why, sizeof(r->why), "the list of allowed IPs is too long");
		return;
	}
	put(r, "replace_allowed_ips", "true");
	for (char *p = strtok_r(copy, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
		struct ip_prefix prefix;

		if (ip_prefix_parse(p, &prefix) != OK) {
			snprintf(r->why, sizeof(r->why), "'%.60s' is not ADDRESS/LENGTH", p);
			return;
		}
		put(r, "allowed_ip", p);
	}
}

/* One word of `set` and its value. Return: how many arguments it took; 0 = unknown. */
static int put_setting(struct request *r, bool in_peer, const char *word, const char *value)
{
	if (in_peer && strcmp(word, "remove") == 0) {
		put(r, "remove", "true");
		return 1;
	}
	if (!value)
		return 0;
	if (strcmp(word, "peer") == 0)
		put_peer(r, value);
	else if (!in_peer && strcmp(word, "private-key") == 0)
		put_key_file(r, "private_key", value);
	else if (!in_peer && strcmp(word, "listen-port") == 0)
		put_number(r, "listen_port", "a port: 0 to 65535", value);
	else if (in_peer && strcmp(word, "preshared-key") == 0)
		put_key_file(r, "preshared_key", value);
	else if (in_peer && strcmp(word, "endpoint") == 0)
		put_endpoint(r, value);
	else if (in_peer && strcmp(word, "persistent-keepalive") == 0)
		put_number(r, "persistent_keepalive_interval", "off, or seconds: 0 to 65535",
			   strcmp(value, "off") == 0 ? "0" : value);
	else if (in_peer && strcmp(word, "allowed-ips") == 0)
		put_allowed(r, value);
	else
		return 0;
	return 2;
}

/* All words of the command line. Return: an exit code, 0 = they are in @r. */
static int put_settings(struct cli *cli, struct request *r, int argc, char **argv)
{
	bool in_peer = false;

	put(r, "set", "1");
	for (int i = 0; i < argc && !r->why[0];) {
		int n = put_setting(r, in_peer, argv[i], argv[i + 1]);

		if (n == 0)
			return cli_usage(cli, "'%s' is not known here, or its value is missing", argv[i]);
		in_peer |= strcmp(argv[i], "peer") == 0;
		i += n;
	}
	if (r->why[0])
		return cli_usage(cli, "%s", r->why);
	put(r, "", "");
	strcpy(r->text + r->len - 2, "\n"); /* the empty line that ends it */
	return 0;
}

/* ---- the command ---- */

struct wg_flags {
	const char *dir;
};

const struct cli_option wg_options[] = {
	{ "uapi-dir", 0, "DIR", "the folder of the socket", option_text, offsetof(struct wg_flags, dir) },
	{ .name = NULL },
};

/* Asks the hub or agent called @name; *ret_view is to be freed. Return: an exit code, 0 = the answer is there and well. */
static int ask(struct cli *cli, const struct wg_flags *flags, const char *name, const char *request, struct wg_view *ret_view)
{
	struct ssh_buf answer = { 0 };
	bool answered;
	int fd;

	*ret_view = (struct wg_view){ 0 };
	if (strchr(name, '/'))
		return cli_usage(cli, "'%s' is not a name", name);
	fd = wg_socket_open(cli, flags->dir, name);
	if (fd < 0)
		return cli_error(cli, 1013, "nothing of ours called %s answers in %s", name,
				 flags->dir ? flags->dir : "/var/run/wireguard, $XDG_RUNTIME_DIR/nefia/wireguard and Nefia's folder");
	answered = wg_socket_ask(fd, request, &answer);
	close(fd);
	if (answered)
		wg_view_read((char *)answer.p, ret_view);
	ssh_buf_fini(&answer);
	if (!answered)
		return cli_error(cli, 1015, "wg: %s does not answer", name);
	return ret_view->error == 0 ? 0 : cli_error(cli, 1043, "wg: %s: %s", name, strerror(ret_view->error));
}

int cmd_wg_show(struct cli *cli, int argc, char **argv)
{
	struct wg_flags flags = { NULL };
	bool conf = strcmp(argv[0], "showconf") == 0;
	struct wg_view v;
	const char *name;
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	name = argc > 1 ? argv[1] : "nefia";
	r = ask(cli, &flags, name, "get=1\n\n", &v);
	if (r == 0 && conf)
		wg_view_print_conf(&v);
	else if (r == 0)
		wg_view_print(&v, name);
	wg_view_free(&v);
	return r;
}

int cmd_wg_set(struct cli *cli, int argc, char **argv)
{
	static struct request request;
	struct wg_flags flags = { NULL };
	struct wg_view v = { 0 };
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	r = put_settings(cli, &request, argc - 2, argv + 2);
	if (r == 0)
		r = ask(cli, &flags, argv[1], request.text, &v);
	sodium_memzero(&request, sizeof(request));
	wg_view_free(&v);
	return r;
}
