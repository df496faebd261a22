/* tunnel/gauges.c - what the socket, the stack and the threads for the cipher have counted, by name, for status reports. */
#include "tunnel/tunnel_internal.h"

size_t tunnel_gauges(const struct tunnel *t, struct tunnel_gauge *ret, size_t max)
{
	struct os_udp_stats u = { 0 };
	struct net_stats n;
	struct tunnel_workers_stats w;
	size_t count = 0;

	if (t->udp)
		os_udp_get_stats(t->udp, &u);
	net_get_stats(&n);
	tunnel_workers_stats(t, &w);
	const struct tunnel_gauge all[] = {
		{ "gso", u.gso },
		{ "gro", u.gro },
		{ "gso_refused", (int64_t)u.n_gso_refused },
		{ "gso_off_paths", u.n_no_gso },
		{ "rx_datagrams", (int64_t)u.n_rx_dgrams },
		{ "rx_calls", (int64_t)u.n_rx_calls },
		{ "rx_dropped", (int64_t)u.n_rx_overflow },
		{ "tx_datagrams", (int64_t)u.n_tx_dgrams },
		{ "tx_calls", (int64_t)u.n_tx_calls },
		{ "tx_waits", (int64_t)u.n_tx_again },
		{ "tx_errors", (int64_t)u.n_tx_errors },
		{ "rcvbuf_bytes", u.rcvbuf_bytes },
		{ "sndbuf_bytes", u.sndbuf_bytes },
		{ "tcp_resent", (int64_t)n.n_resent },
		{ "tcp_recoveries", (int64_t)n.n_recoveries },
		{ "tcp_small_paths", (int64_t)n.n_holes },
		{ "aead_workers", w.n_threads },
		{ "aead_judge", w.state },
		{ "aead_handed", (int64_t)w.n_handed },
		{ "aead_taken_back", (int64_t)w.n_taken_back },
		{ "aead_late", (int64_t)w.n_late },
		{ "aead_trials", (int64_t)w.n_trials },
		{ "aead_trials_failed", (int64_t)w.n_failed },
	};

	while (count < ARRAY_SIZE(all) && count < max) {
		ret[count] = all[count];
		count++;
	}
	return count;
}
