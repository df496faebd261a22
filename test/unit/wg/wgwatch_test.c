/*
 * test/unit/wg/wgwatch_test.c - the watch of what two devices send speaks up: each of its rules is broken once, by messages made
 * by hand after a handshake without fault.
 */
#include "base/endian.h"
#include "test/lib/testing.h"
#include "test/lib/wgwatch.h"
#include "wg/wg.h"

#define INIT_LEN 148
#define RESP_LEN 92
#define INITIATOR 0
#define RESPONDER 1

static struct wgwatch watch;

/* @to: the index of the receiver, or, in an initiation, of the sender. */
static void make(uint8_t *p, uint8_t type, uint32_t to, uint64_t counter)
{
	memset(p, 0, 2048);
	p[0] = type;
	put_le32(p + 4, to);
	put_le64(p + 8, counter);
}

static void assert_told(const char *why, const char *want)
{
	if (want ? !why || !strstr(why, want) : why != NULL)
		fail_msg("said \"%s\", not \"%s\"", why ? why : "nothing", want ? want : "nothing");
}

static const char *send_data(int side, uint32_t to, uint64_t counter, size_t len)
{
	uint8_t p[2048];

	make(p, 4, to, counter);
	return wgwatch_sent(&watch, side, p, len);
}

static void data_came(int side, uint32_t to)
{
	uint8_t p[2048];

	make(p, 4, to, 0);
	wgwatch_came(&watch, side, p, 32);
}

/* Index 7 of the initiator, 9 of the responder; the response arrives when @arrives. */
static void shake_hands(bool arrives)
{
	uint8_t p[2048];

	watch = (struct wgwatch){ 0 };
	make(p, 1, 7, 0);
	assert_told(wgwatch_sent(&watch, INITIATOR, p, INIT_LEN), NULL);
	make(p, 2, 9, 0);
	put_le32(p + 8, 7);
	assert_told(wgwatch_sent(&watch, RESPONDER, p, RESP_LEN), NULL);
	if (arrives)
		wgwatch_came(&watch, INITIATOR, p, RESP_LEN);
}

static void no_data_before_confirmation(void **state)
{
	shake_hands(true);
	assert_told(send_data(RESPONDER, 7, 0, 32), "before confirmation");
	assert_told(send_data(INITIATOR, 9, 0, 32), NULL);
	assert_told(send_data(RESPONDER, 7, 0, 32), "before confirmation"); /* it is still on its way */
	data_came(RESPONDER, 9);
	assert_told(send_data(RESPONDER, 7, 0, 32), NULL);
}

static void no_data_before_the_response(void **state)
{
	shake_hands(false);
	assert_told(send_data(INITIATOR, 9, 0, 32), "before the response");
}

static void counters_only_grow(void **state)
{
	shake_hands(true);
	assert_told(send_data(INITIATOR, 9, 5, 32), NULL);
	assert_told(send_data(INITIATOR, 9, 6, 32), NULL);
	assert_told(send_data(INITIATOR, 9, 6, 32), "counter");
	assert_told(send_data(INITIATOR, 9, 4, 32), "counter");
}

static void keys_are_those_of_a_handshake(void **state)
{
	uint8_t p[2048];

	shake_hands(true);
	assert_told(send_data(INITIATOR, 8, 0, 32), "not offered");
	assert_told(send_data(INITIATOR, 7, 0, 32), "not offered"); /* its own */
	make(p, 2, 11, 0);
	put_le32(p + 8, 12);
	assert_told(wgwatch_sent(&watch, RESPONDER, p, RESP_LEN), "no initiation");
}

static void sizes_are_padded(void **state)
{
	shake_hands(true);
	assert_told(send_data(INITIATOR, 9, 0, 32 + 17), "padded");
	assert_told(send_data(INITIATOR, 9, 1, 32 + 1420), NULL);
	assert_told(send_data(INITIATOR, 9, 2, 32 + 1424), "MTU");
	assert_told(send_data(INITIATOR, 9, 3, 31), "no message");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_data_before_confirmation),
		cmocka_unit_test(no_data_before_the_response),
		cmocka_unit_test(counters_only_grow),
		cmocka_unit_test(keys_are_those_of_a_handshake),
		cmocka_unit_test(sizes_are_padded),
	};

	return RUN_TESTS(tests);
}
