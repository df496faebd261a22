/* Fields out of a tree: each reader on each value, of whatever kind; the first thing that is wrong is named with its place. */
#include "base/conf.h"
#include "test/fuzz/fuzz.h"

static void on_item(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	char small[4];

	++*(unsigned *)ctx;
	memset(small, 0, sizeof(small));
	conf_read_text(r, item, small, sizeof(small));
	ASSERT(memchr(small, 0, sizeof(small)));
}

static void read_field(const struct yaml_node *n)
{
	static const char *const known[] = { "a", "b", NULL };
	char why[60] = "", text[16] = "";
	struct conf_reader r = { "f", why, sizeof(why), OK };
	unsigned long long number = 7;
	struct endpoint ep = { 0 };
	uint8_t key[KEY_LEN] = { 0 };
	unsigned n_items = 0;
	bool flag = false;

	for (int i = 0; i < 7; i++) {
		r.e = OK;
		why[0] = '\0';
		switch (i) {
		case 0: conf_read_text(&r, n, text, sizeof(text)); break;
		case 1: conf_read_key(&r, n, key); break;
		case 2: conf_read_endpoint(&r, n, &ep); break;
		case 3: conf_read_number(&r, n, 1000, &number); break;
		case 4: conf_read_bool(&r, n, &flag); break;
		case 5: conf_each(&r, n, on_item, &n_items); break;
		case 6: conf_known_fields(&r, n, known); break;
		}
		ASSERT((r.e == OK) == (why[0] == '\0') && strnlen(why, sizeof(why)) < sizeof(why));
		ASSERT(r.e == OK || strncmp(why, "f:", 2) == 0);
		ASSERT(i != 3 || r.e != OK || number <= 1000);
	}
}

static void read_root(struct conf_reader *r, const struct yaml_node *root, void *ctx)
{
	*(bool *)ctx = true;
	yaml_for_each(n, root)
		read_field(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[100];
	struct conf_reader r = { "f", why, sizeof(why), OK };
	bool called = false;
	enum err e;

	fuzz_quiet();
	e = conf_parse(&r, (const char *)data, size, "a field", read_root, &called);
	ASSERT(called == (e == OK) && (e == OK || strncmp(why, "f:", 2) == 0));
	return 0;
}
