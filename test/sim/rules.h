/* test/sim/rules.h - the rules that a run is held to, and the events that the report counts. */
#ifndef TEST_SIM_RULES_H
#define TEST_SIM_RULES_H

/* X(name, what is wrong when it is broken) */
#define RULE_LIST(X)                                                                               \
	/* each datagram sent */                                                                   \
	X(RULE_SHAPE, "a datagram that is no WireGuard message")                                   \
	X(RULE_PLAINTEXT, "plaintext on the wire")                                                 \
	X(RULE_NOBODY, "sent to an address that nobody has or had")                                \
	X(RULE_ADDRESSEE, "sent to the address of another peer than the one it is for")            \
	X(RULE_ROAM, "sent to an address that is neither configured nor authenticated")            \
	X(RULE_INIT_OPEN, "an initiation that its addressee cannot open")                          \
	X(RULE_INIT_KEY, "an initiation with another's key")                                       \
	X(RULE_INIT_TIME, "an initiation whose timestamp is not greater than the last")            \
	X(RULE_INIT_DISK, "an initiation sent before its timestamp was on disk")                   \
	X(RULE_INIT_RATE, "two initiations to one peer within 5 s")                                \
	X(RULE_RESPONSE_UNASKED, "a response to no initiation that came")                          \
	X(RULE_RESPONSE_TWICE, "an initiation answered twice")                                     \
	X(RULE_INDEX, "a receiver index used twice")                                               \
	X(RULE_COOKIE, "a cookie reply without load")                                              \
	X(RULE_NO_KEY, "data without a handshake")                                                 \
	X(RULE_CONFIRM, "data from a responder before the initiator's first")                      \
	X(RULE_EARLY, "data from an initiator before the response came")                           \
	X(RULE_NONCE, "a nonce used twice, or counters that go back")                              \
	X(RULE_EXPIRED, "data under a key older than 180 s")                                       \
	X(RULE_LONG, "an inner packet longer than the MTU")                                        \
	X(RULE_PADDING, "an inner packet that is not padded")                                      \
	/* each inner packet that a stack sends */                                                 \
	X(RULE_PACKET, "a malformed inner packet: length, checksum, MTU")                          \
	X(RULE_MSS, "a segment larger than the MSS that the peer announced")                       \
	X(RULE_WINDOW, "data beyond the window that the peer offered")                             \
	X(RULE_RESENT, "bytes sent again that differ from the first time")                         \
	X(RULE_SYN, "a SYN repeated with another sequence number")                                 \
	X(RULE_ACK_BACK, "an acknowledgement that goes back")                                      \
	X(RULE_ACK_AHEAD, "an acknowledgement of what did not come")                               \
	X(RULE_SHRUNK, "a window taken back")                                                      \
	X(RULE_AFTER_FIN, "data after the end of the stream")                                      \
	/* each inner packet that a stack receives */                                              \
	X(RULE_FORGED, "an inner packet came in that its peer did not send")                       \
	X(RULE_REPLAYED, "an inner packet came in more often than it was sent")                    \
	/* each connection, datagram and ping */                                                   \
	X(RULE_STREAM, "a byte was read that was not written there")                               \
	X(RULE_END, "the stream ended at another place than where it was ended")                   \
	X(RULE_DATAGRAM, "a datagram or an echo came with another content")                        \
	X(RULE_DIAL, "a dial ended as it should not")                                              \
	X(RULE_FAILED, "a connection failed that nothing had harmed")                              \
	/* liveness */                                                                             \
	X(RULE_BACK, "a restarted node is not back within 3 s")                                    \
	X(RULE_STALLED, "a connection neither goes on nor ends although the faults are over")      \
	X(RULE_CHATTER, "peers without traffic talk too much")                                     \
	/* at the end */                                                                           \
	X(RULE_LEAK_CONN, "connections, held SYNs or queued bytes are left")                       \
	X(RULE_LEAK_BUFFER, "packet buffers are left")                                             \
	X(RULE_LEAK_QUEUE, "datagrams wait for the socket for ever")                               \
	X(RULE_LEAK_MEMORY, "memory is left allocated")                                            \
	X(RULE_DETERMINISM, "two runs of a seed differ")

enum rule {
	RULE_NONE,
#define RULE_ENUM(name, text) name,
	RULE_LIST(RULE_ENUM)
#undef RULE_ENUM
	N_RULES
};

/* X(name, what happened, must it happen in a thousand seeds?) */
#define COVER_LIST(X)                                                                              \
	X(SEEN_SENT, "datagrams", 1)                                                               \
	X(SEEN_LOST, "lost", 1)                                                                    \
	X(SEEN_DUPLICATED, "duplicated", 1)                                                        \
	X(SEEN_REORDERED, "reordered", 1)                                                          \
	X(SEEN_CORRUPTED, "corrupted", 1)                                                          \
	X(SEEN_CUT, "lost in a partition", 1)                                                      \
	X(SEEN_NAT_DROP, "stopped by a NAT", 1)                                                    \
	X(SEEN_TO_OLD_ADDRESS, "sent to an address that was left", 1)                              \
	X(SEEN_UNREACHABLE, "refused by the kernel: unreachable", 1)                               \
	X(SEEN_STUCK, "refused by a full socket", 1)                                               \
	X(SEEN_BAD_SOURCE, "refused by the kernel: source address gone", 1)                        \
	X(SEEN_INITIATION, "initiations", 1)                                                       \
	X(SEEN_RESPONSE, "responses", 1)                                                           \
	X(SEEN_COOKIE, "cookie replies", 1)                                                        \
	X(SEEN_DATA, "data messages", 1)                                                           \
	X(SEEN_KEEPALIVE, "keepalives", 1)                                                         \
	X(SEEN_SIMULTANEOUS, "initiations that cross", 1)                                          \
	X(SEEN_REKEY, "sessions that follow a session", 1)                                         \
	X(SEEN_CALLED_BACK, "moved peers with a refused timestamp called back", 0)                 \
	X(SEEN_REKEY_IN_FLOW, "rekeys during a transfer", 1)                                       \
	X(SEEN_PSK, "runs with a preshared key", 1)                                                \
	X(SEEN_V6_OUTSIDE, "runs over IPv6", 1)                                                    \
	X(SEEN_V6_INSIDE, "connections over IPv6", 1)                                              \
	X(SEEN_TWIN, "runs with two interfaces of one address", 1)                                 \
	X(SEEN_MTU, "runs with unequal MTUs", 1)                                   \
	X(SEEN_PARTITION, "partitions", 1)                                                         \
	X(SEEN_MOVE, "moves to another address", 1)                                                \
	X(SEEN_REBIND, "NAT rebindings", 1)                                                        \
	X(SEEN_FAMILY, "moves between IPv4 and IPv6", 1)                                           \
	X(SEEN_CRASH, "crashes", 1)                                                                \
	X(SEEN_STOP, "orderly stops", 1)                                                           \
	X(SEEN_STATE_LOST, "restarts without the state file", 1)                                   \
	X(SEEN_BACK, "restarts found back within 3 s", 1)                                          \
	X(SEEN_REBUILD, "tunnels rebuilt by the watchdog", 1)                                      \
	X(SEEN_CLOCK_FORWARD, "wall clock jumps forward", 1)                                       \
	X(SEEN_CLOCK_BACK, "wall clock jumps back", 1)                                             \
	X(SEEN_FREEZE, "suspended nodes", 1)                                                       \
	X(SEEN_DISK_FULL, "writes to a full disk", 1)                                              \
	X(SEEN_RELOAD, "reloads", 1)                                                               \
	X(SEEN_NEW_PSK, "preshared keys changed", 1)                                               \
	X(SEEN_NEW_PORT, "ports changed", 1)                                                       \
	X(SEEN_REPLAY, "datagrams replayed by a stranger", 1)                                      \
	X(SEEN_MANGLED, "datagrams mangled by a stranger", 1)                                      \
	X(SEEN_FLOOD, "initiations of a flood", 1)                                                 \
	X(SEEN_FORGED, "inner packets with a forged source", 1)                                    \
	X(SEEN_FLOW, "connections", 1)                                                             \
	X(SEEN_FLOW_WHOLE, "connections that ended whole", 1)                                      \
	X(SEEN_FLOW_ERROR, "ends that got an error", 1)                                            \
	X(SEEN_HALF_CLOSE, "half-closed connections that went on", 1)                              \
	X(SEEN_ABORT, "aborts", 1)                                                                 \
	X(SEEN_EARLY_CLOSE, "closes with data on the way", 1)                                      \
	X(SEEN_ZERO_WINDOW, "windows that closed", 1)                                              \
	X(SEEN_RESENT, "segments sent again", 1)                                                   \
	X(SEEN_HELD, "SYNs accepted late", 1)                                                      \
	X(SEEN_HELD_GONE, "held SYNs that ran out", 1)                                             \
	X(SEEN_REFUSED, "dials refused", 1)                                                        \
	X(SEEN_DIAL_TIMEOUT, "dials that timed out", 1)                                            \
	X(SEEN_NO_ROUTE, "dials without a route", 1)                                               \
	X(SEEN_FINAL, "dials after the faults", 1)                                                 \
	X(SEEN_DATAGRAM, "UDP datagrams that arrived", 1)                                          \
	X(SEEN_ECHO, "pings answered", 1)                                                          \
	X(SEEN_QUIET, "runs with a quiet minute", 1)

enum cover {
#define COVER_ENUM(name, text, must) name,
	COVER_LIST(COVER_ENUM)
#undef COVER_ENUM
	N_COVER
};

#endif
