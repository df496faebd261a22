/*
 * nefia.yaml: parsed, asked, and edited. Whatever an edit makes that still loads holds the other hosts unchanged.
 * The first line of the input is a selector and an id to edit, the rest is the file.
 */
#include "operator/config.h"
#include "operator/edit.h"
#include "test/fuzz/fuzz.h"

static bool same_host(const struct host_config *a, const struct host_config *b)
{
	return strcmp(a->id, b->id) == 0 && strcmp(a->group, b->group) == 0 && a->n_tags == b->n_tags &&
	       memcmp(a->tags, b->tags, sizeof(a->tags)) == 0 && strcmp(a->user, b->user) == 0 && a->n_addrs == b->n_addrs &&
	       memcmp(a->addrs, b->addrs, sizeof(a->addrs)) == 0 && a->has_key == b->has_key &&
	       memcmp(&a->public_key, &b->public_key, sizeof(a->public_key)) == 0 &&
	       memcmp(&a->psk, &b->psk, sizeof(a->psk)) == 0 && endpoint_equal(&a->endpoint, &b->endpoint);
}

/* @text loads, or is refused; then all hosts but @except stand in it as they stood, and @n in all. Return: does it load? */
static bool check_edited(const struct config *before, char *text, const char *except, size_t n)
{
	char why[512];
	struct config after;
	bool loads = config_parse("f", text, strlen(text), &after, why, sizeof(why)) == OK;

	free(text);
	if (!loads)
		return false;
	ASSERT(after.n_hosts == n);
	ASSERT(memcmp(&before->private_key, &after.private_key, sizeof(after.private_key)) == 0);
	for (size_t i = 0; i < before->n_hosts; i++) {
		const struct host_config *h = config_host(&after, before->hosts[i].id);

		ASSERT(strcmp(before->hosts[i].id, except) == 0 || (h && same_host(h, &before->hosts[i])));
	}
	config_free(&after);
	return true;
}

static void edit(const struct config *c, const char *text, size_t len, const char *id)
{
	bool there = config_host(c, id) != NULL;
	char *next;
	enum err e;

	e = edit_remove_host(text, len, id, &next);
	ASSERT(e == (there ? OK : ERR_NOT_FOUND) || e == ERR_UNSUPPORTED);
	if (e == OK)
		check_edited(c, next, id, c->n_hosts - 1);
	if (!config_host(c, "new-1")) {
		e = edit_rename_host(text, len, id, "new-1", &next);
		ASSERT(e == (there ? OK : ERR_NOT_FOUND));
		if (e == OK)
			check_edited(c, next, id, c->n_hosts);
		e = edit_add_host(text, len, "- id: new-1\n  vpn:\n    addr: 10.99.0.77\n", &next);
		ASSERT(e == OK || e == ERR_UNSUPPORTED);
		if (e == OK)
			check_edited(c, next, "", c->n_hosts + 1);
	}
}

static void ask(const struct config *c, const char *selector)
{
	const struct host_config **hosts = calloc(c->n_hosts + 1, sizeof(*hosts));
	char miss[64];
	size_t n;

	if (!hosts)
		abort();
	n = config_select(c, selector, hosts, miss);
	ASSERT(n <= c->n_hosts && strnlen(miss, sizeof(miss)) < sizeof(miss));
	for (size_t i = 1; i < n; i++)
		ASSERT(hosts[i - 1] < hosts[i]);
	free(hosts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *all = fuzz_text(data, size), *text = strchr(all, '\n'), why[512];
	struct config c;
	enum err e;

	fuzz_quiet();
	if (text) {
		*text++ = '\0';
		e = config_parse("f", text, strlen(text), &c, why, sizeof(why));
		ASSERT(e == OK || e == ERR_NOMEM || strncmp(why, "f:", 2) == 0);
		if (e == OK) {
			for (size_t i = 0; i < c.n_hosts; i++)
				ASSERT(config_host_id_ok(c.hosts[i].id));
			ask(&c, all);
			edit(&c, text, strlen(text), all);
			config_free(&c);
		}
	}
	free(all);
	return 0;
}
