/* An argument of `nefia forward`: any text is refused or means two ends within their limits that can be written again. */
#include "operator/forward_spec.h"
#include "test/fuzz/fuzz.h"

static void one(const char *arg, bool with_target)
{
	struct forward_spec s, again;
	char listen[FORWARD_END_STR_MAX], target[FORWARD_END_STR_MAX], text[2 * FORWARD_END_STR_MAX + 1];

	if (forward_spec_parse(arg, with_target, &s) != OK)
		return;
	ASSERT(strnlen(s.listen.host, FORWARD_HOST_MAX) < FORWARD_HOST_MAX);
	ASSERT(strnlen(s.target.host, FORWARD_HOST_MAX) < FORWARD_HOST_MAX);
	ASSERT(with_target == (s.target.host[0] != '\0'));
	forward_end_format(&s.listen, listen);
	if (!with_target)
		return;
	snprintf(text, sizeof(text), "%s:%s", listen, forward_end_format(&s.target, target));
	ASSERT(forward_spec_parse(text, true, &again) == OK);
	ASSERT(strcmp(s.listen.host, again.listen.host) == 0 && s.listen.port == again.listen.port);
	ASSERT(strcmp(s.target.host, again.target.host) == 0 && s.target.port == again.target.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *arg = fuzz_text(data, size);

	one(arg, true);
	one(arg, false);
	free(arg);
	return 0;
}
