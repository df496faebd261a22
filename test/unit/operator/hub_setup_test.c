/* nefia.yaml as the hub sees it (operator/hub_setup.c): an error midway through the hosts ends none of those behind it. */
#include "operator/hub_internal.h"
#include "test/lib/testing.h"

#define KEY "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

static struct hub h;

/* "first", @n others, "last". Return: as hub_setup_load() */
static enum err load(unsigned n)
{
	char *text, *why = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	enum err e;

	assert_non_null(f);
	fprintf(f, "version: 1\nvpn:\n  private_key: " KEY "\n  address: 10.99.0.1/16\nhosts:\n  - id: first\n");
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "  - id: h%u\n", i);
	fprintf(f, "  - id: last\n");
	assert_int_equal(fclose(f), 0);
	h.opt.text = text;
	h.opt.text_len = len;
	h.opt.config = "nefia.yaml";
	e = hub_setup_load(&h, &why);
	if (e == ERR_FORMAT)
		print_message("%s\n", why);
	free(why);
	free(text);
	return e;
}

static struct hub_host *host(const char *name)
{
	for (size_t i = 0; i < h.n_hosts; i++)
		if (strcmp(h.hosts[i]->peer.name, name) == 0)
			return h.hosts[i];
	return NULL;
}

/* There is room for a number of hosts; what does not fit is left out, and those that were there stay, workers and all. */
static void the_hosts_behind_an_error_stay(void **state)
{
	struct hub_host *first, *last;

	assert_int_equal(load(2), OK);
	first = host("first");
	last = host("last");
	assert_true(first && last && host("h1"));
	assert_int_equal(load(HUB_PEERS_MAX), ERR_FULL);
	assert_int_equal(h.n_hosts, HUB_PEERS_MAX);
	assert_ptr_equal(host("first"), first);
	assert_ptr_equal(host("last"), last);
	assert_false(last->gone);
	assert_int_equal(load(0), OK);
	assert_int_equal(h.n_hosts, 2);
	assert_ptr_equal(host("last"), last);
	for (size_t i = 0; i < h.n_hosts; i++)
		hub_host_free(h.hosts[i]);
	free(h.hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_hosts_behind_an_error_stay) };

	return RUN_TESTS(tests);
}
