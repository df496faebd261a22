/*
 * test/unit/netstack/wirewatch_test.c - the watch of the wire speaks up: each of its rules is broken once, by packets made by
 * hand after a handshake without fault, and the packet that breaks it is the one that is named.
 */
#include "base/endian.h"
#include "test/lib/testing.h"
#include "test/lib/wirewatch.h"

#define FIN 0x01
#define SYN 0x02
#define ACK 0x10
#define CLIENT_ISS 1000u
#define SERVER_ISS 0xfffffff0u /* its numbers wrap */
#define MSS 1380
#define WINDOW 0x4000 /* of both; the client's counts in units of 2, the server's in units of 4 */

struct packet {
	unsigned side;
	uint8_t flags;
	uint32_t seq, ack; /* from the side's ISS + 1, and the other's */
	size_t len;
	uint8_t fill;
	uint32_t sack[2];  /* from the other side's ISS + 1; none when both are 0 */
	uint16_t window;   /* 0: WINDOW */
};

static struct wirewatch watch;
static uint16_t port;

static const char *tell(const struct packet *k)
{
	static const uint8_t syn[2][12] = { { 2, 4, MSS >> 8, MSS & 0xff, 3, 3, 1, 4, 2, 1, 1, 0 },
					    { 2, 4, MSS >> 8, MSS & 0xff, 3, 3, 2, 4, 2, 1, 1, 0 } };
	uint8_t p[2000] = { 0x45, [9] = 6, [12] = 10, [15] = 1, [16] = 10, [19] = 2 };
	uint32_t mine = k->side ? SERVER_ISS : CLIENT_ISS, other = k->side ? CLIENT_ISS : SERVER_ISS;
	size_t opts = k->flags & SYN || k->sack[1] ? 12 : 0;

	p[15] = (uint8_t)(1 + k->side);
	p[19] = (uint8_t)(2 - k->side);
	put_be16(p + 2, (uint16_t)(40 + opts + k->len));
	put_be16(p + 20, k->side ? 22 : port);
	put_be16(p + 22, k->side ? port : 22);
	put_be32(p + 24, mine + (k->flags & SYN ? 0 : 1) + k->seq);
	put_be32(p + 28, other + 1 + k->ack);
	p[32] = (uint8_t)((20 + opts) / 4 << 4);
	p[33] = k->flags;
	put_be16(p + 34, k->window ? k->window : WINDOW);
	if (k->flags & SYN) {
		memcpy(p + 40, syn[k->side], opts);
	} else if (opts) {
		memcpy(p + 40, "\1\1\5\12", 4);
		put_be32(p + 44, other + 1 + k->sack[0]);
		put_be32(p + 48, other + 1 + k->sack[1]);
	}
	memset(p + 40 + opts, k->fill, k->len);
	return wirewatch_packet(&watch, (int)k->side, p, 40 + opts + k->len);
}

static void assert_told(const char *why, const char *want)
{
	if (!why || !strstr(why, want))
		fail_msg("said \"%s\", not \"%s\"", why ? why : "nothing", want);
}

static void all_is_well(const struct packet *k, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *why = tell(&k[i]);

		if (why)
			fail_msg("packet %zu: %s", i, why);
	}
}

/* The client has sent 3,000 bytes, of which the first 1,000 are acknowledged and the last 1,000 SACKed. */
static void begin(void)
{
	static const struct packet fine[] = {
		{ 0, SYN, 0, 0, 0, 0, { 0, 0 }, 0 },
		{ 1, SYN | ACK, 0, 0, 0, 0, { 0, 0 }, 0 },
		{ 0, ACK, 0, 0, 0, 0, { 0, 0 }, 0 },
		{ 0, ACK, 0, 0, 1000, 'a', { 0, 0 }, 0 },
		{ 0, ACK, 1000, 0, 1000, 'b', { 0, 0 }, 0 },
		{ 1, ACK, 0, 1000, 0, 0, { 0, 0 }, 0 },
		{ 0, ACK, 2000, 0, 1000, 'c', { 0, 0 }, 0 },
		{ 1, ACK, 0, 1000, 0, 0, { 2000, 3000 }, 0 },
	};

	port++;
	all_is_well(fine, ARRAY_SIZE(fine));
}

static void each_rule_is_kept(void **state)
{
	static const struct { struct packet k; const char *why; } rows[] = {
		{ { 0, ACK, 3000, 0, MSS + 1, 'd', { 0, 0 }, 0 }, "MSS" },
		{ { 0, ACK, 4000, 0, 100, 'd', { 0, 0 }, 0 }, "a hole" },
		{ { 0, ACK, 1000, 0, 1000, 'x', { 0, 0 }, 0 }, "changed" },
		{ { 0, ACK, 2500, 0, 1000, 'd', { 0, 0 }, 0 }, "changed" },
		{ { 1, ACK, 0, 500, 0, 0, { 0, 0 }, 0 }, "goes back" },
		{ { 1, ACK, 0, 3001, 0, 0, { 0, 0 }, 0 }, "not sent" },
		{ { 1, ACK, 0, 1000, 0, 0, { 2000, 3001 }, 0 }, "SACK" },
		{ { 1, ACK, 0, 1000, 0, 0, { 3000, 2000 }, 0 }, "SACK" },
		{ { 1, ACK, 0, 1000, 0, 0, { 0, 0 }, WINDOW - 1 }, "taken back" },
		{ { 0, 0, 3000, 0, 100, 'd', { 0, 0 }, 0 }, "no ACK" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		begin();
		assert_told(tell(&rows[i].k), rows[i].why);
	}
}

static void nothing_beyond_the_window(void **state)
{
	struct packet k = { 0, ACK, 3000, 0, 1000, 'd', { 0, 0 }, 0 };

	begin();
	/* Offered: 1,000 that are acknowledged, and WINDOW units of 4. */
	for (; k.seq + k.len <= 1000 + 4 * WINDOW; k.seq += 1000)
		all_is_well(&k, 1);
	assert_told(tell(&k), "beyond the window");
}

static void a_byte_may_ask_a_closed_window(void **state)
{
	struct packet one = { 0, ACK, 3000, 0, 1, 'd', { 0, 0 }, 0 };

	begin();
	one.seq = 1000 + 4 * WINDOW;
	for (struct packet k = { 0, ACK, 3000, 0, 1, 'd', { 0, 0 }, 0 }; k.seq < one.seq; k.seq += (uint32_t)k.len) {
		k.len = MIN((size_t)1000, one.seq - k.seq);
		all_is_well(&k, 1);
	}
	all_is_well(&one, 1);
	one.len = 2;
	assert_told(tell(&one), "beyond the window");
}

static void nothing_after_the_end(void **state)
{
	struct packet fin = { 0, ACK | FIN, 3000, 0, 10, 'd', { 0, 0 }, 0 }, more = { 0, ACK, 3010, 0, 1, 'e', { 0, 0 }, 0 };

	begin();
	all_is_well(&fin, 1);
	all_is_well(&fin, 1);
	assert_told(tell(&more), "after FIN");
}

static void nothing_before_the_handshake(void **state)
{
	static const struct packet k[] = {
		{ 0, SYN, 0, 0, 0, 0, { 0, 0 }, 0 },
		{ 1, SYN, 0, 0, 0, 0, { 0, 0 }, 0 },
		{ 0, ACK, 0, 0, 10, 'a', { 0, 0 }, 0 },
	};

	port++;
	all_is_well(k, 2);
	assert_told(tell(&k[2]), "before the handshake");
}

static void what_is_no_segment_is_told(void **state)
{
	uint8_t p[40] = { 0x45, [3] = 40, [9] = 6, [32] = 0x40 };

	assert_told(wirewatch_packet(&watch, 0, p, sizeof(p)), "header length");
	p[32] = 0x60;
	assert_told(wirewatch_packet(&watch, 0, p, sizeof(p)), "header length");
	p[9] = 17;
	assert_null(wirewatch_packet(&watch, 0, p, sizeof(p)));
}

/* A connection that is not watched would let everything pass. */
static void too_many_connections_are_told(void **state)
{
	struct packet syn = { 0, SYN, 0, 0, 0, 0, { 0, 0 }, 0 };
	const char *why = NULL;

	for (port = 1; port < 20000 && !why; port++)
		why = tell(&syn);
	assert_told(why, "more connections");
	assert_true(port > WIREWATCH_FLOWS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule_is_kept),
		cmocka_unit_test(nothing_beyond_the_window),
		cmocka_unit_test(a_byte_may_ask_a_closed_window),
		cmocka_unit_test(nothing_after_the_end),
		cmocka_unit_test(nothing_before_the_handshake),
		cmocka_unit_test(what_is_no_segment_is_told),
		cmocka_unit_test(too_many_connections_are_told),
	};
	int rc = RUN_TESTS(tests);

	wirewatch_fini(&watch);
	return rc;
}
