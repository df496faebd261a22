/* Names that a server made up, and a person's pattern: what is shown, joined, matched and put into JSON. The first line is the pattern. */
#include "operator/fs_name.h"

#include "base/text.h"
#include "operator/json_text.h"
#include "test/fuzz/fuzz.h"

static void check_shown(const char *name)
{
	char *shown = malloc(FS_SHOWN_MAX(strlen(name))), part[64];
	json_t *o = json_object();
	char *text;

	ASSERT(shown && o);
	fs_name_show(name, shown);
	ASSERT(strlen(shown) < FS_SHOWN_MAX(strlen(name)));
	for (const char *p = shown; *p;)
		ASSERT(!text_is_control(text_next(p, &p)));
	fs_name_set_json(o, "name", name);
	ASSERT(json_object_size(o) == 1 && (text_is_utf8(name) == (json_object_get(o, "name") != NULL)));
	text = json_text(o, JSON_COMPACT);
	ASSERT(text);
	for (const char *p = text; *p;)
		ASSERT(!text_is_control(text_next(p, &p)));
	fs_name_base(name, part, sizeof(part));
	ASSERT(strlen(part) < sizeof(part) && !strchr(part, '/'));
	free(text);
	free(shown);
	json_decref(o);
}

/* What is safe stays below where it starts, also behind a folder. */
static void check_safe(const char *name)
{
	char joined[256];

	if (fs_name_is_safe(name)) {
		ASSERT(name[0] != '/' && !strstr(name, "//") && strncmp(name, "../", 3) != 0 && !strstr(name, "/../"));
		ASSERT(!fs_name_join(joined, sizeof(joined), "dir", name) || fs_name_is_safe(joined));
	}
	ASSERT(!fs_name_join(joined, sizeof(joined), ".", name) || strcmp(joined, *name ? name : ".") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *all = fuzz_text(data, size), *name = strchr(all, '\n');
	char *plain;

	if (name) {
		*name++ = '\0';
		(void)fs_glob_match(all, strlen(all), name);
		(void)fs_glob_match_dots(all, strlen(all), name);
		check_shown(name);
		check_safe(name);
	}
	plain = strdup(all);
	ASSERT(plain);
	/* Without a pattern in it, it fits what it says and nothing else. (A backslash may stand within a character.) */
	fs_glob_unquote(plain);
	if (!fs_glob_is_pattern(all) && (!strchr(all, '\\') || text_is_utf8(all))) {
		ASSERT(fs_glob_match_dots(all, strlen(all), plain));
		ASSERT(!name || !fs_glob_match_dots(all, strlen(all), name) || strcmp(plain, name) == 0);
	}
	free(plain);
	free(all);
	return 0;
}
