/*
 * os/udp.h - one UDP port for both families, in batches.
 *
 * Receive: recvmmsg with UDP_GRO into slots of 64 KiB that belong to the socket; datagrams are cut apart and
 * shown as views. Send: one sendmsg with UDP_SEGMENT for a run. Where the kernel refuses segmentation: EIO (the route
 * has no checksum offload), off for all that leaves by the same address and interface; EINVAL or EMSGSIZE, for that
 * destination; both until the path changes on which it was met. ENOPROTOOPT, off for the process. The refused run is sent one
 * by one, never lost; NEFIA_GSO=off turns it off.
 */
#ifndef OS_UDP_H
#define OS_UDP_H

#include "base/addr.h"
#include "base/err.h"
#include "os/loop.h"

struct os_udp;

struct os_udp_dgram {
	const uint8_t *p;
	size_t len;
	struct path_addr path;
};

struct os_udp_handler {
	/* A batch, oldest first; the bytes live until return. */
	void (*on_recv)(void *ctx, const struct os_udp_dgram *d, size_t n);
	/* After ERR_AGAIN: the socket takes datagrams again. */
	void (*on_writable)(void *ctx);
	void *ctx;
};

/**
 * os_udp_open() - bind @port (0 = any) on IPv4 and, where the machine has it, IPv6
 * A machine without IPv6 is served with IPv4 alone. Socket buffers are raised as far as allowed.
 * Return: OK; ERR_IN_USE; ERR_PERMISSION; ERR_FULL.
 */
MUST_CHECK enum err os_udp_open(struct os_loop *loop, uint16_t port, const struct os_udp_handler *h,
				struct os_udp **ret);
void os_udp_close(struct os_udp *u);
/** os_udp_has() - does this machine have @family (enum ip_family)? */
bool os_udp_has(const struct os_udp *u, uint8_t family);
uint16_t os_udp_port(const struct os_udp *u);
/**
 * os_udp_send() - one run of datagrams of @seg_len bytes each (the last may be shorter)
 *
 * Return: OK: all of it left (or was lost by the network). ERR_AGAIN: nothing or a part left; call again with
 * the same arguments after on_writable (the part that left is remembered by the run's first 16 bytes). ERR_NO_ROUTE,
 * ERR_UNREACHABLE, ERR_PERMISSION: given up. ERR_INVALID: a local address was asked for and refused, as when it is not
 * ours any more: nothing is known to have left; send again without it.
 */
MUST_CHECK enum err os_udp_send(struct os_udp *u, const struct path_addr *path, const uint8_t *p, size_t len,
				uint16_t seg_len);

/** os_udp_path_changed() - @remote is reached another way now: what the old one refused is tried again */
void os_udp_path_changed(struct os_udp *u, const struct endpoint *remote);
/** os_udp_rest() - the receive slots' memory is given back until datagrams come again; not in a callback of @u */
void os_udp_rest(struct os_udp *u);

struct os_udp_stats {
	uint64_t n_rx_dgrams, n_rx_calls, n_tx_dgrams, n_tx_calls, n_tx_again, n_tx_errors;
	uint64_t n_gso_refused; /* runs that the kernel refused and that went one by one */
	unsigned n_no_gso;      /* destinations, or routes, without segmentation at present */
	uint64_t n_rx_overflow; /* dropped by the kernel: our receive buffer was full */
	int rcvbuf_bytes, sndbuf_bytes;
	bool gso, gro;          /* in use, apart from those destinations */
};
void os_udp_get_stats(const struct os_udp *u, struct os_udp_stats *ret);

#endif
