/*
 * operator/status.c - the status of the tunnel, written for people and for programs.
 *
 * A peer is WARN when it was last heard more than 5 minutes ago and STALE after 30; one that was never heard is
 * stale too. Of hosts that are invited, wait for approval or are revoked nothing can be expected, so they are neither.
 */
#include "operator/status.h"

#include <inttypes.h>
#include <string.h>

static const char *state_of(const struct status_peer *p)
{
	return !p->pending ? "active" : p->state ? p->state : "pending";
}

/* Whoever is shut out has no name. */
static bool has_record(const struct status_peer *p)
{
	return strcmp(state_of(p), "revoked") != 0;
}

const char *status_mark(const struct status_peer *p)
{
	if (p->pending)
		return "";
	if (p->age_s > STATUS_STALE_S)
		return "STALE";
	return p->age_s > STATUS_WARN_S ? "WARN" : "";
}

const char *status_age(uint64_t age_s, char buf[32])
{
	static const struct {
		uint64_t from, unit;
		char letter;
	} units[] = { { 2 * 86400, 86400, 'd' }, { 7200, 3600, 'h' }, { 60, 60, 'm' }, { 0, 1, 's' } };

	if (age_s == STATUS_NEVER)
		return "never";
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (age_s >= units[i].from) {
			snprintf(buf, 32, "%" PRIu64 "%c ago", age_s / units[i].unit, units[i].letter);
			break;
		}
	}
	return buf;
}

/* As the wg tool writes amounts. */
static const char *amount(uint64_t n, char buf[32])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double v = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		snprintf(buf, 32, "%" PRIu64 " B", n);
		return buf;
	}
	for (; v >= 1024 && i + 1 < ARRAY_SIZE(units); i++)
		v /= 1024;
	snprintf(buf, 32, "%.2f %s", v, units[i]);
	return buf;
}

static void print_live(FILE *f, const struct status_peer *p)
{
	char rx[32], tx[32];

	if (p->pending)
		return;
	fprintf(f, "    endpoint: %s\n", p->endpoint ? p->endpoint : "(unknown)");
	fprintf(f, "    transfer: %s received, %s sent\n", amount(p->rx_bytes, rx), amount(p->tx_bytes, tx));
	fprintf(f, "    path: %s%s\n", p->path ? p->path : "(none)", p->up ? "" : " (down)");
}

static void print_breaker(FILE *f, const struct status_peer *p)
{
	if (!p->breaker || !p->breaker_reason)
		return;
	if (strcmp(p->breaker, "open") == 0 && p->next_attempt_s > 0)
		fprintf(f, "    ssh: circuit breaker open after %u failures in a row: %s; next attempt in %" PRIu64
			   " s, at once: nefia hub retry %s\n", p->failures, p->breaker_reason, p->next_attempt_s, p->host);
	else if (strcmp(p->breaker, "closed") == 0)
		fprintf(f, "    ssh: %u failure%s in a row: %s\n", p->failures, p->failures == 1 ? "" : "s", p->breaker_reason);
	else
		fprintf(f, "    ssh: circuit breaker half open after %u failures in a row: %s; the next command tries\n", p->failures,
			p->breaker_reason);
}

static void print_peer(FILE *f, const struct status *s, const struct status_peer *p)
{
	const char *mark = status_mark(p);
	char age[32];

	if (p->pending)
		fprintf(f, "  %s %s %s", p->host, p->addr, state_of(p));
	else
		fprintf(f, "  %s %s last handshake: %s", p->host, p->addr, status_age(p->age_s, age));
	fprintf(f, mark[0] ? " [%s]\n" : "%s\n", mark);
	if (s->live)
		print_live(f, p);
	print_breaker(f, p);
	if (!p->pinged)
		return;
	if (p->reachable)
		fprintf(f, "    ping: reachable (%.1f ms)\n", p->ping_ms);
	else
		fprintf(f, "    ping: unreachable (%s)\n", p->ping_error ? p->ping_error : "no answer");
}

static size_t count_stale(const struct status *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_peers; i++)
		n += strcmp(status_mark(&s->peers[i]), "STALE") == 0;
	return n;
}

static size_t count_records(const struct status *s)
{
	size_t n = s->operator_addr ? 1 : 0;

	for (size_t i = 0; i < s->n_peers; i++)
		n += has_record(&s->peers[i]);
	return n;
}

static void print_dns(FILE *f, const struct status *s)
{
	if (!s->magic_dns)
		return;
	fprintf(f, "\nMagicDNS: active (.%s, %zu records)\n", s->domain, count_records(s));
	if (s->operator_addr)
		fprintf(f, "  operator.%s -> %s\n", s->domain, s->operator_addr);
	for (size_t i = 0; i < s->n_peers; i++)
		if (has_record(&s->peers[i]))
			fprintf(f, "  %s%s.%s -> %s\n", s->peers[i].host, s->peers[i].pending ? ".pending" : "", s->domain,
				s->peers[i].addr);
}

void status_print(FILE *f, const struct status *s)
{
	size_t n_stale = count_stale(s);
	char age[32];

	fprintf(f, "VPN: enabled (%s)\n", s->live ? "live" : s->pinged ? "probed" : "not probed");
	fprintf(f, "Peers:\n");
	for (size_t i = 0; i < s->n_peers; i++)
		print_peer(f, s, &s->peers[i]);
	if (s->n_peers == 0)
		fprintf(f, "  (none)\n");
	if (n_stale > 0)
		fprintf(f,
			"\nTroubleshooting: %zu stale peer%s detected. Run '%s' to investigate.\n",
			n_stale, n_stale == 1 ? "" : "s", s->pinged ? "nefia hub logs" : "nefia vpn status --live --ping");
	if (s->rival)
		fprintf(f, "\nAnother hub lives with this operator's key, at %s, seen by host %s %s. %s\n", s->rival, s->rival_host,
			status_age(s->rival_age_s, age),
			s->stands_back ? "It began later: this one stands back.\nStop that one, or have the key here: 'nefia hub reload'." :
			s->rival_brief ? "It serves one command." : "It began earlier, and will stand back.");
	print_dns(f, s);
}

/* ---- JSON ---- */

static json_t *peer_json(const struct status *s, const struct status_peer *p)
{
	json_t *o = json_pack("{s:s, s:s, s:s}", "host", p->host, "addr", p->addr, "state", state_of(p));
	const char *mark = status_mark(p);

	json_object_set_new(o, "last_handshake_age_s",
			    p->age_s == STATUS_NEVER ? json_null() : json_integer((json_int_t)p->age_s));
	json_object_set_new(o, "mark", mark[0] ? json_string(mark) : json_null());
	if (s->live) {
		json_object_set_new(o, "endpoint", p->endpoint ? json_string(p->endpoint) : json_null());
		json_object_set_new(o, "rx_bytes", json_integer((json_int_t)p->rx_bytes));
		json_object_set_new(o, "tx_bytes", json_integer((json_int_t)p->tx_bytes));
		json_object_set_new(o, "up", json_boolean(p->up));
		json_object_set_new(o, "path", p->path ? json_string(p->path) : json_null());
	}
	if (p->ssh)
		json_object_set(o, "ssh", p->ssh);
	if (p->breaker)
		json_object_set_new(o, "ssh_breaker",
				    json_pack("{s:s, s:i, s:s?, s:s?, s:o}", "state", p->breaker, "failures", (int)p->failures,
					      "reason", p->breaker_error, "reason_text", p->breaker_reason, "next_attempt_s",
					      strcmp(p->breaker, "open") == 0 ? json_integer((json_int_t)p->next_attempt_s) : json_null()));
	if (p->pinged) {
		json_object_set_new(o, "reachable", json_boolean(p->reachable));
		json_object_set_new(o, "ping_ms", p->reachable ? json_real(p->ping_ms) : json_null());
	}
	return o;
}

static json_t *dns_json(const struct status *s)
{
	json_t *records = json_array();
	char name[512];

	if (s->operator_addr && s->magic_dns) {
		snprintf(name, sizeof(name), "operator.%s", s->domain);
		json_array_append_new(records, json_pack("{s:s, s:s}", "name", name, "addr", s->operator_addr));
	}
	for (size_t i = 0; s->magic_dns && i < s->n_peers; i++) {
		const struct status_peer *p = &s->peers[i];

		if (!has_record(p))
			continue;
		snprintf(name, sizeof(name), "%s%s.%s", p->host, p->pending ? ".pending" : "", s->domain);
		json_array_append_new(records, json_pack("{s:s, s:s}", "name", name, "addr", p->addr));
	}
	return json_pack("{s:b, s:s, s:o}", "active", s->magic_dns, "domain", s->domain, "records", records);
}

json_t *status_json(const struct status *s)
{
	json_t *peers = json_array(), *o;

	for (size_t i = 0; i < s->n_peers; i++)
		json_array_append_new(peers, peer_json(s, &s->peers[i]));
	o = json_pack("{s:i, s:b, s:b, s:o, s:I, s:o, s:s?, s:b}", "version", 1, "enabled", 1, "probed", s->live || s->pinged,
			 "peers", peers, "stale", (json_int_t)count_stale(s), "magic_dns", dns_json(s), "rival", s->rival,
		      "stands_back", s->stands_back);
	if (s->udp)
		json_object_set(o, "udp", s->udp);
	return o;
}
