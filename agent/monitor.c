/*
 * agent/monitor.c - the peers are looked at: for the health report, and for the watchdog.
 *
 * A peer is expected to answer when the configuration says where it is, or when packets wait for it. A stale peer of
 * which nothing is expected (an operator behind NAT who is not there) is no reason to rebuild anything.
 */
#include "agent/agent_internal.h"

#include <string.h>

#include "base/log.h"
#include "os/netmon.h"

#define SETTLE (500 * NSEC_PER_MSEC)
#define REPORT_EVERY (15 * NSEC_PER_SEC)

struct look {
	bool up, fresh, expected;
};

static bool names_endpoint(const struct agent_config *cfg, const struct wg_public_key *key)
{
	for (size_t i = 0; i < cfg->n_peers; i++)
		if (memcmp(&cfg->peers[i].key, key, sizeof(*key)) == 0)
			return endpoint_is_set(&cfg->peers[i].endpoint);
	return false;
}

static struct look look_at(struct agent *a)
{
	struct wg_device *dev = tunnel_device(a->tunnel);
	nsec_t now = os_loop_now(a->loop);
	struct look l = { 0 };

	for (wg_peer_id id = wg_peer_next(dev, 0); id; id = wg_peer_next(dev, id)) {
		struct wg_peer_info info;

		/* What cannot be asked counts as stale, and as expected. */
		if (!wg_peer_get_info(dev, id, now, &info)) {
			l.expected = true;
			continue;
		}
		explicit_bzero(&info.psk, sizeof(info.psk));
		l.up |= info.is_up;
		l.fresh |= info.last_handshake && now - info.last_handshake < WATCHDOG_STALE;
		l.expected |= info.n_staged > 0 || names_endpoint(&a->cfg, &info.key);
	}
	return l;
}

void agent_monitor_report(struct agent *a)
{
	struct look l = look_at(a);

	a->health.vpn_connected = l.up;
	a->health.vpn_expected = l.expected;
	agent_health_write(&a->health, os_loop_now(a->loop));
}

static void on_report_timer(void *ctx)
{
	struct agent *a = ctx;

	agent_monitor_report(a);
	os_timer_set(&a->report_timer, os_loop_now(a->loop) + REPORT_EVERY);
}

/* ---- watchdog ---- */

static void nudge(struct agent *a)
{
	struct wg_device *dev = tunnel_device(a->tunnel);

	for (wg_peer_id id = wg_peer_next(dev, 0); id; id = wg_peer_next(dev, id))
		wg_peer_connect(dev, id, os_loop_now(a->loop));
	tunnel_kick(a->tunnel);
}

static void rebuild(struct agent *a)
{
	bool any;

	log_warn("the tunnel is rebuilt: no peer answers, or the network changed rebuild=%u next_look_s=%llu", a->dog.n_rebuilds,
		 (unsigned long long)((watchdog_deadline(&a->dog) - os_loop_now(a->loop)) / NSEC_PER_SEC));
	a->health.rebuild_count++;
	a->health.last_rebuild_wall = os_wall_now();
	/* Without a port it stays silent, and the watchdog comes back to it. */
	if (tunnel_rebuild(a->tunnel) != OK)
		log_warn("the tunnel is silent until the next rebuild");
	agent_ways_look(&a->ways, tunnel_device(a->tunnel), os_loop_now(a->loop), &any); /* endpoints are the configuration's again */
	agent_monitor_report(a);
}

static void on_dog_timer(void *ctx)
{
	struct agent *a = ctx;
	nsec_t now = os_loop_now(a->loop);
	struct look l = look_at(a);
	enum watchdog_state before = a->dog.state;
	enum watchdog_seen seen = l.fresh ? WATCHDOG_SEEN_ALIVE : l.expected ? WATCHDOG_SEEN_STALE : WATCHDOG_SEEN_IDLE;

	switch (watchdog_tick(&a->dog, now, seen)) {
	case WATCHDOG_DO_NUDGE:
		if (a->dog.state == WATCHDOG_COOLING && before == WATCHDOG_REBUILT)
			log_warn("%d rebuilds brought no session: the next one in 30 minutes, handshakes go on",
				 WATCHDOG_N_REBUILDS);
		nudge(a);
		break;
	case WATCHDOG_DO_REBUILD:
		rebuild(a);
		break;
	case WATCHDOG_DO_NOTHING:
		break;
	}
	os_timer_set(&a->dog_timer, watchdog_deadline(&a->dog));
}

/* ---- changes of the network ---- */

/* Changes come in bursts, so it is looked at half a second after the first. */
static void on_network_settled(void *ctx)
{
	struct agent *a = ctx;
	bool any;

	a->net_pending = false;
	if (!agent_ways_look(&a->ways, tunnel_device(a->tunnel), os_loop_now(a->loop), &any))
		return;
	log_info("the way to a peer changed: %s", any ? "the tunnel is rebuilt at once" : "there is none to any now");
	if (!any)
		return;
	watchdog_network_changed(&a->dog, os_loop_now(a->loop));
	os_timer_set(&a->dog_timer, watchdog_deadline(&a->dog));
}

static void on_network(void *ctx)
{
	struct agent *a = ctx;

	if (!a->net_pending)
		os_timer_set(&a->net_timer, os_loop_now(a->loop) + SETTLE);
	a->net_pending = true;
}

/* ---- events ---- */

void agent_monitor_event(void *ctx, const struct wg_event *ev)
{
	struct agent *a = ctx;
	char text[ENDPOINT_STR_MAX];
	uint32_t held;

	switch (ev->kind) {
	case WG_EVENT_SESSION_UP:
		log_info("session up");
		watchdog_session_up(&a->dog, os_loop_now(a->loop));
		os_timer_set(&a->dog_timer, watchdog_deadline(&a->dog));
		break;
	case WG_EVENT_SESSION_DOWN:
		log_info("session down");
		break;
	case WG_EVENT_HANDSHAKE_FAILED:
		log_warn("no answer to handshakes for 90 s");
		break;
	case WG_EVENT_ENDPOINT:
		log_info("peer endpoint=%s", endpoint_format(&ev->endpoint, text));
		agent_ways_learn(&a->ways, tunnel_device(a->tunnel), os_loop_now(a->loop));
		return;
	case WG_EVENT_UNDER_LOAD:
		/* A stranger who comes and goes makes one a second. */
		if (log_limit_ok(&a->load_limit, os_loop_now(a->loop), &held))
			log_warn("handshakes are %s held=%u", ev->on ? "limited: under load" : "no longer limited", held);
		return;
	case WG_EVENT_TIMESTAMP:
		return;
	}
	/* Soon, from the loop: the tunnel is in the middle of something. */
	os_timer_set(&a->report_timer, os_loop_now(a->loop));
}

void agent_monitor_start(struct agent *a)
{
	watchdog_init(&a->dog, os_loop_now(a->loop));
	os_timer_set(&a->dog_timer, watchdog_deadline(&a->dog));
	a->ways.source = os_route_source;
	agent_ways_learn(&a->ways, tunnel_device(a->tunnel), os_loop_now(a->loop));
	if (os_netmon_start(a->loop, on_network, a, &a->netmon) != OK)
		log_info("changes of the network are not told here: the watchdog finds them later");
	on_report_timer(a);
}

void agent_monitor_init(struct agent *a)
{
	os_timer_init(&a->report_timer, a->loop, on_report_timer, a);
	os_timer_init(&a->dog_timer, a->loop, on_dog_timer, a);
	os_timer_init(&a->net_timer, a->loop, on_network_settled, a);
}

void agent_monitor_stop(struct agent *a)
{
	os_timer_cancel(&a->report_timer);
	os_timer_cancel(&a->dog_timer);
	os_timer_cancel(&a->net_timer);
	os_netmon_stop(a->netmon);
	a->netmon = NULL;
	agent_ways_fini(&a->ways);
}
