/*
 * ~/.ssh/config: whatever a person has there, our line is put before it, found, and taken out again, and the rest stays as it was.
 * The first line of the input is the path that is included, what follows the file.
 */
#include "operator/ssh_config.h"
#include "test/fuzz/fuzz.h"

static bool is_same(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static void check(struct bytes text, const char *line)
{
	size_t n = strlen(line);
	struct bytes rest, again;
	uint8_t *with;

	ASSERT(strncmp(line, "Include ", 8) == 0 && !strchr(line, '\n') && !strchr(line, '\r'));
	ASSERT(ssh_config_without(text, line, &rest) == OK);
	ASSERT(rest.len <= text.len && !ssh_config_includes(rest, line));
	ASSERT(rest.len < text.len || !ssh_config_includes(text, line));
	with = malloc(n + 1 + rest.len);
	if (!with)
		abort();
	memcpy(with, line, n);
	with[n] = '\n';
	memcpy(with + n + 1, rest.p, rest.len);
	ASSERT(ssh_config_includes((struct bytes){ with, n + 1 + rest.len }, line));
	ASSERT(ssh_config_without((struct bytes){ with, n + 1 + rest.len }, line, &again) == OK && is_same(again, rest));
	free((void *)again.p);
	free((void *)rest.p);
	free(with);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
	size_t n = nl ? (size_t)(nl - data) : size, used = nl ? n + 1 : n;
	char *path = fuzz_text(data, n), *line;

	if (ssh_config_include_line(path, &line) == OK) {
		check((struct bytes){ data + used, size - used }, line);
		free(line);
	}
	free(path);
	return 0;
}
