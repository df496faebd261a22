/* The YAML reader: any bytes give a tree whose marks lie in the text, within the limits, or an error that says where. */
#include "base/yaml.h"
#include "test/fuzz/fuzz.h"

static size_t n_nodes;

static void check(const struct yaml_node *n, const char *text, size_t len, unsigned depth)
{
	ASSERT(depth <= 64 && ++n_nodes <= 65536);
	ASSERT(n->start <= n->end && n->end <= len && n->line >= 1 && n->column >= 1);
	if (n->kind == YAML_SCALAR) {
		ASSERT(n->text && !n->first);
		/* What the editor relies on: a plain word on one line stands in the text as it is. */
		if (n->plain && n->text[0] && !strpbrk(n->text, " \n\t") && !memchr(text + n->start, '\n', n->end - n->start) &&
		    !memchr(text + n->start, '\r', n->end - n->start))
			ASSERT(n->end - n->start == strlen(n->text) && memcmp(text + n->start, n->text, n->end - n->start) == 0);
	}
	yaml_for_each(it, n) {
		ASSERT(!it->key == (n->kind == YAML_SEQ));
		if (it->key) {
			check(it->key, text, len, depth + 1);
			ASSERT(yaml_get(n, it->key->text) == it);
		}
		check(it, text, len, depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct yaml_doc doc;
	unsigned line, column;

	n_nodes = 0;
	if (yaml_parse(&doc, (const char *)data, size) != OK)
		ASSERT(sscanf(doc.error, "%u:%u: ", &line, &column) == 2);
	else if (doc.root)
		check(doc.root, (const char *)data, size, 1);
	yaml_doc_free(&doc);
	return 0;
}
