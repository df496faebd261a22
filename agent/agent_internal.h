/* agent/agent_internal.h - the running agent, shared by the files of `nefia-agent run` alone. */
#ifndef AGENT_AGENT_INTERNAL_H
#define AGENT_AGENT_INTERNAL_H

#include "agent/config.h"
#include "agent/health.h"
#include "agent/holders.h"
#include "agent/watchdog.h"
#include "agent/ways.h"
#include "base/list.h"
#include "base/log.h"
#include "os/file.h"
#include "os/loop.h"
#include "tunnel/tunnel.h"

struct agent {
	const char *config_path;
	bool strict;
	struct os_loop *loop;
	struct agent_config cfg;
	struct tunnel *tunnel;
	struct tunnel_uapi *uapi;
	const char *uapi_dir;
	char state_path[4096];
	struct os_lock *lock;
	/* forward.c */
	struct net_listener *listener;
	struct list forwards;
	size_t n_forwards;
	/* control.c */
	struct net_listener *control;
	struct list controls;
	size_t n_controls;
	struct agent_holders holders[N_AGENT_PEERS]; /* by place in the configuration */
	/* monitor.c */
	struct agent_health health;
	struct watchdog dog;
	struct os_timer report_timer, dog_timer, net_timer;
	struct os_netmon *netmon; /* NULL: this machine does not tell */
	struct agent_ways ways;
	bool net_pending;
	struct log_limit load_limit;
	/* run.c */
	struct os_timer drain_timer, notice_timer;
	struct net_udp *notices; /* drain.c */
	bool draining;
};

/* forward.c */
MUST_CHECK enum err agent_forward_open(struct agent *a);
/** agent_forward_refuse() - new connections get a reset from here on; those that stand go on */
void agent_forward_refuse(struct agent *a);
void agent_forward_close(struct agent *a);
/** agent_forward_remote() - who holds connection number @i of a->n_forwards */
const struct ip_addr *agent_forward_remote(const struct agent *a, size_t i);
/* drain.c */
/** agent_drain_start() - tell those who hold connections, until agent_drain_stop() */
void agent_drain_start(struct agent *a);
void agent_drain_stop(struct agent *a);
/* control.c */
MUST_CHECK enum err agent_control_open(struct agent *a);
void agent_control_close(struct agent *a);
/* monitor.c */
/** agent_monitor_init() - before the tunnel is opened, whose events come here */
void agent_monitor_init(struct agent *a);
/** agent_monitor_start() - once the tunnel stands */
void agent_monitor_start(struct agent *a);
void agent_monitor_stop(struct agent *a);
/** agent_monitor_report() - look at the peers and write the health file if it says something new */
void agent_monitor_report(struct agent *a);
void agent_monitor_event(void *ctx, const struct wg_event *ev);
/* run.c */
/** agent_forward_ended() - one fewer; the last one ends an agent that drains */
void agent_forward_ended(struct agent *a);

#endif
