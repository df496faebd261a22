/* operator/wg_view.c - see wg_view.h. */
#include "operator/wg_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "wg/wg.h"

/* ---- reading ---- */

static void hex_to_base64(const char *hex, char out[KEY_STR_MAX])
{
	uint8_t raw[KEY_LEN];
	size_t n;

	out[0] = '\0';
	if (sodium_hex2bin(raw, sizeof(raw), hex, strlen(hex), NULL, &n, NULL) == 0 && n == KEY_LEN &&
	    !sodium_is_zero(raw, sizeof(raw)))
		key_to_base64(raw, out);
	sodium_memzero(raw, sizeof(raw));
}

static void take_private(struct wg_view *v, const char *hex)
{
	struct wg_private_key priv;
	struct wg_public_key pub;
	size_t n;

	hex_to_base64(hex, v->private_key);
	if (sodium_hex2bin(priv.b, KEY_LEN, hex, strlen(hex), NULL, &n, NULL) == 0 && n == KEY_LEN) {
		wg_public_from_private(&priv, &pub);
		key_to_base64(pub.b, v->public_key);
	}
	sodium_memzero(&priv, sizeof(priv));
}

static bool add_allowed(struct wg_peer_view *p, const char *prefix)
{
	char *all = NULL;

	if (asprintf(&all, "%s%s%s", p->allowed ? p->allowed : "", p->allowed ? ", " : "", prefix) < 0)
		return false;
	free(p->allowed);
	p->allowed = all;
	return true;
}

/* False: out of memory. */
static bool take_peer_line(struct wg_peer_view *p, const char *key, const char *value)
{
	if (strcmp(key, "preshared_key") == 0)
		hex_to_base64(value, p->psk);
	else if (strcmp(key, "endpoint") == 0)
		snprintf(p->endpoint, sizeof(p->endpoint), "%s", value);
	else if (strcmp(key, "allowed_ip") == 0)
		return add_allowed(p, value);
	else if (strcmp(key, "last_handshake_time_sec") == 0)
		p->handshake = strtoull(value, NULL, 10);
	else if (strcmp(key, "rx_bytes") == 0)
		p->rx = strtoull(value, NULL, 10);
	else if (strcmp(key, "tx_bytes") == 0)
		p->tx = strtoull(value, NULL, 10);
	else if (strcmp(key, "persistent_keepalive_interval") == 0)
		p->keepalive = (unsigned)strtoul(value, NULL, 10);
	return true;
}

/* -EINVAL from most, EINVAL from some; what is no errno at all counts as EIO. */
static int errno_of(const char *value)
{
	long n = strtol(value + (*value == '-'), NULL, 10);

	return n < 0 || n > 4095 ? EIO : (int)n;
}

/* A block that is given up may hold preshared keys: it is wiped, which realloc() would not do. */
static bool add_peer(struct wg_view *v, const char *hex)
{
	struct wg_peer_view *more;

	if ((v->n_peers & (v->n_peers - 1)) == 0) {
		more = calloc(v->n_peers ? 2 * v->n_peers : 1, sizeof(*more));
		if (!more)
			return false;
		if (v->peers) {
			memcpy(more, v->peers, v->n_peers * sizeof(*more));
			sodium_memzero(v->peers, v->n_peers * sizeof(*more));
		}
		free(v->peers);
		v->peers = more;
	}
	hex_to_base64(hex, v->peers[v->n_peers++].key);
	return true;
}

static bool take_line(struct wg_view *v, const char *key, const char *value)
{
	if (strcmp(key, "public_key") == 0)
		return add_peer(v, value);
	if (strcmp(key, "errno") == 0)
		v->error = errno_of(value);
	else if (strcmp(key, "private_key") == 0)
		take_private(v, value);
	else if (strcmp(key, "listen_port") == 0)
		v->port = (unsigned)strtoul(value, NULL, 10);
	else if (v->n_peers > 0)
		return take_peer_line(&v->peers[v->n_peers - 1], key, value);
	return true;
}

void wg_view_read(char *answer, struct wg_view *ret)
{
	char *save = NULL;
	bool whole = true;

	*ret = (struct wg_view){ .error = EPROTO };
	for (char *line = strtok_r(answer, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');

		if (!eq)
			continue;
		*eq = '\0';
		whole &= take_line(ret, line, eq + 1);
	}
	/* A list with gaps would be taken for what is there. */
	if (!whole)
		ret->error = ENOMEM;
}

void wg_view_free(struct wg_view *v)
{
	for (size_t i = 0; i < v->n_peers; i++)
		free(v->peers[i].allowed);
	if (v->peers)
		sodium_memzero(v->peers, v->n_peers * sizeof(v->peers[0]));
	free(v->peers);
	sodium_memzero(v, sizeof(*v));
}

/* ---- printing ---- */

static int by_handshake(const void *a, const void *b)
{
	const struct wg_peer_view *x = a, *y = b;

	return (y->handshake > x->handshake) - (y->handshake < x->handshake);
}

static void print_age(uint64_t seconds)
{
	static const struct {
		uint64_t s;
		const char *name;
	} units[] = { { 365 * 86400, "year" }, { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
	const char *comma = "";

	if (seconds == 0) {
		printf("Now");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		uint64_t n = seconds / units[i].s;

		seconds %= units[i].s;
		if (n == 0)
			continue;
		printf("%s%" PRIu64 " %s%s", comma, n, units[i].name, n == 1 ? "" : "s");
		comma = ", ";
	}
	printf(" ago");
}

static void print_bytes(uint64_t n)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double x = (double)n;
	int i = -1;

	if (n < 1024) {
		printf("%" PRIu64 " B", n);
		return;
	}
	while (x >= 1024 && i < 3) {
		x /= 1024;
		i++;
	}
	printf("%.2f %s", x, units[i]);
}

static void print_peer(const struct wg_peer_view *p)
{
	uint64_t now = (uint64_t)time(NULL);

	printf("\npeer: %s\n", p->key);
	if (p->psk[0])
		printf("  preshared key: (hidden)\n");
	if (p->endpoint[0])
		printf("  endpoint: %s\n", p->endpoint);
	printf("  allowed ips: %s\n", p->allowed ? p->allowed : "(none)");
	if (p->handshake) {
		printf("  latest handshake: ");
		print_age(now > p->handshake ? now - p->handshake : 0);
		putchar('\n');
	}
	if (p->rx || p->tx) {
		printf("  transfer: ");
		print_bytes(p->rx);
		printf(" received, ");
		print_bytes(p->tx);
		printf(" sent\n");
	}
	if (p->keepalive)
		printf("  persistent keepalive: every %u second%s\n", p->keepalive, p->keepalive == 1 ? "" : "s");
}

void wg_view_print(struct wg_view *v, const char *name)
{
	printf("interface: %s\n", name);
	if (v->public_key[0])
		printf("  public key: %s\n  private key: (hidden)\n", v->public_key);
	if (v->port)
		printf("  listening port: %u\n", v->port);
	if (v->n_peers > 1)
		qsort(v->peers, v->n_peers, sizeof(v->peers[0]), by_handshake);
	for (size_t i = 0; i < v->n_peers; i++)
		print_peer(&v->peers[i]);
}

void wg_view_print_conf(const struct wg_view *v)
{
	printf("[Interface]\n");
	if (v->port)
		printf("ListenPort = %u\n", v->port);
	if (v->private_key[0])
		printf("PrivateKey = %s\n", v->private_key);
	for (size_t i = 0; i < v->n_peers; i++) {
		const struct wg_peer_view *p = &v->peers[i];

		printf("\n[Peer]\nPublicKey = %s\n", p->key);
		if (p->psk[0])
			printf("PresharedKey = %s\n", p->psk);
		if (p->allowed)
			printf("AllowedIPs = %s\n", p->allowed);
		if (p->endpoint[0])
			printf("Endpoint = %s\n", p->endpoint);
		if (p->keepalive)
			printf("PersistentKeepalive = %u\n", p->keepalive);
	}
}
