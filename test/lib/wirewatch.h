/*
 * test/lib/wirewatch.h - watches every TCP packet between two sides and tells when one breaks a rule of the wire.
 *
 * The rules: no data before the other side has acknowledged the SYN; no segment larger than the MSS that the other side
 * announced; no byte beyond the window that it offered, and none of that taken back; new bytes follow the ones sent before,
 * without a hole; no byte changes between its first and a later sending; acknowledgements never go back and never run ahead of
 * what was sent; SACKs name what was sent, above the acknowledgement; nothing new after a FIN.
 */
#ifndef TEST_LIB_WIREWATCH_H
#define TEST_LIB_WIREWATCH_H

#include "base/types.h"

#define WIREWATCH_FLOWS 4096
#define WIREWATCH_HISTORY 65536

struct wirewatch_dir {
	bool syn, fin, has_window;
	uint32_t iss, nxt;   /* next byte never sent */
	uint32_t fin_seq;
	uint32_t acked;      /* what this side has acknowledged */
	bool has_acked;
	uint32_t edge;       /* right edge of what it offered */
	uint16_t mss;        /* announced by it */
	uint8_t scale;
	bool scale_said;
	uint8_t *history;    /* what it sent, by sequence number; allocated with the first byte */
};

struct wirewatch_flow {
	uint8_t key[36];
	bool used;
	struct wirewatch_dir dirs[2];
};

struct wirewatch {
	struct wirewatch_flow *flows;
};

/** wirewatch_packet() - @side (0 or 1) sends an IP packet; return: the rule that it breaks, or NULL */
const char *wirewatch_packet(struct wirewatch *w, int side, const uint8_t *p, size_t len);
void wirewatch_fini(struct wirewatch *w);

#endif
