/* How a command ended at its host, and what our own exit status says of it: a failure is never 0. */
#include "operator/exec.h"
#include "test/lib/testing.h"

static void statuses(void **state)
{
	static const struct {
		int told;
		enum err error;
		const char *signal;
		int status, code;
	} rows[] = {
		{ 0, OK, "", 0, 0 },
		{ 7, OK, "", 7, 7 },
		{ 255, OK, "", 255, 255 },
		{ 256, OK, "", 256, 255 }, /* a server of Windows has 32 bits */
		{ 0x7fffff00, OK, "", 0x7fffff00, 255 },
		{ (int)0xc0000005u, OK, "", 255, 255 },
		{ -1, OK, "KILL", 137, 137 },
		{ -1, OK, "NOSUCH", 255, 255 },
		{ 0, ERR_RESET, "", 255, 255 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct exec_host h = { .s = { .exit_status = rows[i].told, .error = rows[i].error } };

		strcpy(h.s.exit_signal, rows[i].signal);
		assert_int_equal(exec_host_status(&h), rows[i].status);
		assert_int_equal(exec_exit_code(&h), rows[i].code);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
