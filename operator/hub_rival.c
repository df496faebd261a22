/*
 * operator/hub_rival.c - another hub that lives with our key.
 *
 * An operator's key is one hub's: two that have it (a folder that was copied by hand, not moved by nefia export) take the
 * agents from each other, handshake by handshake, and each sees its connections die for no reason. WireGuard cannot tell
 * them apart; the agents can, when asked: each hub tells an agent's control port when it began, after every new
 * session, and hears which others have called with the same key since.
 *
 * Who began last keeps the key. The older one stands back, host by host, as each agent tells it: it gives up that session,
 * sends nothing there, refuses commands to it with E1056, which names the other's address, and stays so until a person ends
 * it or takes the key back (nefia hub reload, which counts as beginning anew). So every host changes hands once and there is no
 * fight, whatever the clocks say: taking back means a later beginning than the other's. A hub of a single command is named,
 * and nobody stands back for it.
 *
 * Host by host, because an agent's word cannot be proved: one that lies shuts itself off, and nobody else.
 *
 * A hub that called before we began is no rival: it may have been our predecessor.
 */
#include <stdio.h>
#include <string.h>

#include "agent/control_client.h"
#include "base/log.h"
#include "base/text.h"
#include "operator/hub_internal.h"

#define LOOK_EVERY (2 * NSEC_PER_SEC)
#define ASK_MAX (5 * NSEC_PER_SEC)
#define ASKS_MAX 8 /* at once: after a start every host has a new session */
#define SLACK_MS 1000
#define SUSPECT_EVERY (600 * NSEC_PER_SEC)
#define AHEAD_MAX (3600 * NSEC_PER_SEC)

bool hub_rival_judge(const json_t *reply, uint64_t age_ms, struct hub_rival_seen *ret)
{
	struct hub_rival_seen best = { .since_ms = 0 };
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(reply, "hubs"), i, o) {
		json_int_t since = hub_json_int(o, "since", 0), ago = hub_json_int(o, "ago_ms", -1);
		const char *from = hub_json_string(o, "from");

		if (since <= 0 || ago < 0 || (uint64_t)ago + SLACK_MS >= age_ms || (uint64_t)since <= best.since_ms)
			continue;
		best = (struct hub_rival_seen){ .since_ms = (uint64_t)since, .brief = json_is_true(json_object_get(o, "brief")) };
		snprintf(best.from, sizeof(best.from), "%s", from ? from : "?");
		text_clean(best.from); /* the agent's words, for a terminal */
	}
	best.latest = (uint64_t)MAX(hub_json_int(reply, "latest", 0), 0);
	if (best.since_ms)
		*ret = best;
	return best.since_ms != 0;
}

bool hub_rival_has_host(const struct hub_host *hh)
{
	return hh->stands_back;
}

void hub_rival_forget(struct hub_host *hh)
{
	if (!hh->ask)
		return;
	agent_ask_cancel(hh->ask);
	hh->ask = NULL;
	hh->hub->rival.n_asking--;
}

static void stand_back(struct hub_host *hh)
{
	hh->stands_back = true;
	hh->stand_back_now = false;
	log_error("another hub lives with this key, and began later: this one stands back from=%s host=%s; end that one, or take the key "
		  "back: nefia hub reload", hh->rival.from, hh->peer.name);
	hub_rival_forget(hh);
	hub_host_stop(hh);
}

/* Those whose agents said so since the last look. */
static void stand_back_all(struct hub *h)
{
	bool changed = false;
	enum err e;

	for (size_t i = 0; i < h->n_hosts; i++) {
		changed |= h->hosts[i]->stand_back_now;
		if (h->hosts[i]->stand_back_now)
			stand_back(h->hosts[i]);
	}
	e = changed ? hub_setup_apply(h) : OK;
	if (e != OK)
		log_error("standing back: %s", err_text(e));
}

/* A hub whose clock is ahead locks us out of a host, so that nothing can be proved. */
static void suspect(struct hub_host *hh)
{
	struct hub_rival *r = &hh->hub->rival;

	if (!hh->strange || (r->suspected_at && os_now() - r->suspected_at < SUSPECT_EVERY))
		return;
	r->suspected_at = os_now();
	log_warn("a host does not answer, and somebody sends what is sealed for no session of ours: it restarted, or another hub lives with this "
		 "key host=%s", hh->peer.name);
}

static void on_asked(void *ctx, enum err e, const json_t *reply)
{
	struct hub_host *hh = ctx;
	struct hub_rival *r = &hh->hub->rival;
	struct hub_rival_seen seen;
	bool is_new;

	hh->ask = NULL;
	r->n_asking--;
	if (e == ERR_TIMEOUT || e == ERR_CLOSED || e == ERR_RESET) {
		hh->asked_handshake = 0; /* again at the next look */
		suspect(hh);
	}
	/* An agent of before this question, or one that is gone again: nothing is known. */
	if (e != OK || !hub_rival_judge(reply, (os_now() - r->since) / NSEC_PER_MSEC, &seen))
		return;
	is_new = seen.since_ms != r->seen.since_ms;
	r->seen = hh->rival = seen;
	snprintf(r->host, sizeof(r->host), "%s", hh->peer.name);
	r->seen_at = os_now();
	if (seen.since_ms > r->since_ms && !seen.brief) {
		hh->stand_back_now = true;
		os_timer_set(&r->timer, os_now()); /* not from within the tunnel */
	} else if (is_new) {
		log_warn("another hub lives with this key from=%s host=%s: %s", seen.from, hh->peer.name,
			 seen.brief ? "it serves one command" : "it began earlier, and will stand back");
	}
}

static void ask(struct hub_host *hh, const struct wg_peer_info *info)
{
	struct hub *h = hh->hub;
	const struct agent_control_request req = {
		.op = AGENT_CONTROL_HUBS, .since_ms = h->rival.since_ms, .brief = h->opt.transient,
	};

	if (agent_ask_start(h->loop, h->tunnel, &hh->ip, &req, os_now() + ASK_MAX, on_asked, hh, &hh->ask) != OK)
		return;
	hh->asked_handshake = info->last_handshake;
	h->rival.n_asking++;
}

/*
 * A host with a session that was not there at the last look; or one that does not answer ours, while somebody sends us what
 * is sealed for no session of ours: so looks an agent that answers the other hub. It is only a hint, which anybody can fake.
 */
static bool is_to_be_asked(struct hub_host *hh, const struct wg_peer_info *info, bool strange)
{
	bool is_silent = info->tx_bytes != hh->looked_tx && info->rx_bytes == hh->looked_rx;

	hh->looked_tx = info->tx_bytes;
	hh->looked_rx = info->rx_bytes;
	hh->strange = is_silent && strange;
	return info->is_up && (info->last_handshake != hh->asked_handshake || hh->strange);
}

static void look(struct hub *h)
{
	struct wg_device *dev = tunnel_device(h->tunnel);
	struct wg_device_stats stats;
	bool strange;

	wg_device_get_stats(dev, &stats);
	strange = stats.n_rx_unknown != h->rival.n_unknown;
	h->rival.n_unknown = stats.n_rx_unknown;
	for (size_t i = 0; i < h->n_hosts && h->rival.n_asking < ASKS_MAX; i++) {
		struct hub_host *hh = h->hosts[i];
		wg_peer_id id = hh->has_key && !hh->gone && !hh->ask ? wg_peer_find(dev, &hh->peer.key) : 0;
		struct wg_peer_info info;

		if (!id || !wg_peer_get_info(dev, id, os_now(), &info))
			continue;
		explicit_bzero(&info.psk, sizeof(info.psk));
		if (is_to_be_asked(hh, &info, strange))
			ask(hh, &info);
	}
}

static void on_timer(void *ctx)
{
	struct hub *h = ctx;

	stand_back_all(h);
	look(h);
	os_timer_set(&h->rival.timer, os_now() + LOOK_EVERY);
}

static void begin(struct hub_rival *r)
{
	uint64_t now_ms = os_wall_now() / NSEC_PER_MSEC;

	/* Later than the one that has it now, also when its clock is ahead of ours; an agent may say of it what it likes. */
	r->since_ms = MAX(now_ms, MIN(r->seen.since_ms + 1, now_ms + AHEAD_MAX / NSEC_PER_MSEC));
	r->since = os_now();
}

void hub_rival_open(struct hub *h)
{
	begin(&h->rival);
	os_timer_init(&h->rival.timer, h->loop, on_timer, h);
	os_timer_set(&h->rival.timer, os_now() + LOOK_EVERY);
}

void hub_rival_close(struct hub *h)
{
	os_timer_cancel(&h->rival.timer);
	for (size_t i = 0; i < h->n_hosts; i++)
		hub_rival_forget(h->hosts[i]);
}

static bool any_stands_back(const struct hub *h)
{
	for (size_t i = 0; i < h->n_hosts; i++)
		if (h->hosts[i]->stands_back)
			return true;
	return false;
}

void hub_rival_take_back(struct hub *h)
{
	struct wg_device *dev = tunnel_device(h->tunnel);

	if (!any_stands_back(h))
		return;
	begin(&h->rival);
	for (size_t i = 0; i < h->n_hosts; i++) {
		struct hub_host *hh = h->hosts[i];

		/* The other's clock may be ahead, and agents take no initiation that is older than its last; but no agent sets our clock. */
		if (hh->stands_back && hh->rival.latest < os_wall_now() + AHEAD_MAX)
			wg_device_raise_timestamp(dev, hh->rival.latest);
		hh->stands_back = hh->stand_back_now = false;
		hh->asked_handshake = 0;
	}
	log_info("the key is taken back from=%s", h->rival.seen.from);
}

json_t *hub_rival_json(const struct hub *h)
{
	const struct hub_rival *r = &h->rival;

	if (!r->seen.since_ms)
		return json_null();
	return json_pack("{s:s, s:s, s:b, s:b, s:I}", "from", r->seen.from, "host", r->host, "brief", r->seen.brief, "stands_back",
			 any_stands_back(h), "ago_ms", (json_int_t)((os_now() - r->seen_at) / NSEC_PER_MSEC));
}
