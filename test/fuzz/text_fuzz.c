/* Words of others: any bytes become text for a terminal and for JSON, of the same length, and what was fit stays as it is. */
#include "base/text.h"

#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *in = fuzz_text(data, size), *clean = strdup(in), *utf8 = strdup(in);
	size_t len = strlen(in);

	ASSERT(clean && utf8);
	text_clean(clean);
	text_make_utf8(utf8);
	ASSERT(strlen(clean) == len && text_is_utf8(clean));
	ASSERT(strlen(utf8) == len && text_is_utf8(utf8));
	ASSERT(text_is_utf8(in) == (strcmp(in, utf8) == 0));
	for (const char *p = clean; *p;)
		ASSERT(!text_is_control(text_next(p, &p)));
	free(in);
	free(clean);
	free(utf8);
	return 0;
}
