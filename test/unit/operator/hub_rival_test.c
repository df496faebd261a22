/* Which of the hubs that an agent tells of is a rival: one that called in our time, and of those the one that began last. */
#include "operator/hub_internal.h"
#include "test/lib/testing.h"

static bool judge(const char *text, uint64_t age_ms, struct hub_rival_seen *ret)
{
	json_t *j = json_loads(text, 0, NULL);
	bool found = hub_rival_judge(j, age_ms, ret);

	json_decref(j);
	return found;
}

static void who_called_in_our_time(void **state)
{
	struct hub_rival_seen seen;

	assert_false(judge("{}", 100000, &seen));
	assert_false(judge("{\"hubs\":[]}", 100000, &seen));
	/* before we began, or so shortly after it that it may be our predecessor's last word */
	assert_false(judge("{\"hubs\":[{\"since\":5,\"ago_ms\":100000,\"from\":\"192.0.2.1:1\"}]}", 100000, &seen));
	assert_false(judge("{\"hubs\":[{\"since\":5,\"ago_ms\":99500,\"from\":\"192.0.2.1:1\"}]}", 100000, &seen));
	assert_true(judge("{\"hubs\":[{\"since\":5,\"ago_ms\":90000,\"from\":\"192.0.2.1:1\"}]}", 100000, &seen));
	assert_int_equal(seen.since_ms, 5);
	assert_string_equal(seen.from, "192.0.2.1:1");
	assert_false(seen.brief);
	assert_true(judge("{\"hubs\":[{\"since\":9,\"ago_ms\":1,\"from\":\"a\"},{\"since\":12,\"ago_ms\":2,\"from\":\"b\",\"brief\":true},"
			  "{\"since\":10,\"ago_ms\":3,\"from\":\"c\"}]}", 100000, &seen));
	assert_string_equal(seen.from, "b");
	assert_true(seen.brief);
}

static void nonsense(void **state)
{
	static const char *const rows[] = {
		"{\"hubs\":{}}", "{\"hubs\":[1,null,[]]}", "{\"hubs\":[{\"since\":0,\"ago_ms\":1}]}", "{\"hubs\":[{\"since\":-4,\"ago_ms\":1}]}",
		"{\"hubs\":[{\"since\":5,\"ago_ms\":-1}]}", "{\"hubs\":[{\"since\":\"5\",\"ago_ms\":1}]}", "{\"hubs\":[{\"ago_ms\":1}]}",
	};
	struct hub_rival_seen seen;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (judge(rows[i], 100000, &seen))
			fail_msg("taken: %s", rows[i]);
	assert_true(judge("{\"hubs\":[{\"since\":5,\"ago_ms\":1}]}", 100000, &seen));
	assert_string_equal(seen.from, "?");
}

/* What the agent says of the other's address is shown on terminals. */
static void words_are_cleaned(void **state)
{
	struct hub_rival_seen seen;

	assert_true(judge("{\"hubs\":[{\"since\":5,\"ago_ms\":1,\"from\":\"a\\u001b[31m\\u009bb\\u202ec\\n\"}]}", 100000, &seen));
	assert_string_equal(seen.from, "a?[31m??b???c?");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(who_called_in_our_time), cmocka_unit_test(nonsense),
					    cmocka_unit_test(words_are_cleaned) };

	return RUN_TESTS(tests);
}
