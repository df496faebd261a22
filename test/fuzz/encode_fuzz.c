/* Keys in base64 and bytes in hex: one text a value, one value a text. */
#include <strings.h>

#include "base/encode.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = fuzz_text(data, size), text[KEY_STR_MAX], *hex;
	uint8_t key[KEY_LEN], *raw;
	size_t len = strlen(s) / 2;

	if (key_from_base64(s, key) == OK)
		ASSERT(strcmp(key_to_base64(key, text), s) == 0);
	raw = malloc(len + 1);
	hex = malloc(2 * len + 1);
	if (!raw || !hex)
		abort();
	if (hex_decode(s, raw, len) == OK)
		ASSERT(strcasecmp(hex_encode(raw, len, hex), s) == 0);
	ASSERT(hex_decode(s, raw, len + 1) != OK);
	free(raw);
	free(hex);
	free(s);
	return 0;
}
