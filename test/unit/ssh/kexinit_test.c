/* A server's KEXINIT: read out of raw bytes, and what is missing in it. */
#include "ssh/kexinit.h"

#include <stdio.h>

#include "base/endian.h"
#include "test/lib/testing.h"

#define BANNER "SSH-2.0-test"

static const char *const ours[N_KEX_LISTS] = { "curve,nistp", "ed,rsa", "x-gcm,ctr", "x-gcm,ctr", "etm,mac", "etm,mac", "none", "none" };

struct message {
	uint8_t b[4096];
	size_t len;
};

static void add(struct message *m, const void *p, size_t len)
{
	memcpy(m->b + m->len, p, len);
	m->len += len;
}

static void make(struct message *m, const char *const lists[N_KEX_LISTS])
{
	static const uint8_t zeros[32];
	size_t start;
	uint8_t n[4];

	m->len = 0;
	add(m, BANNER "\r\n", strlen(BANNER) + 2);
	start = m->len;
	add(m, "\0\0\0\0\7\24", 6);
	add(m, zeros, 16);
	for (size_t i = 0; i < N_KEX_LISTS; i++) {
		put_be32(n, (uint32_t)strlen(lists[i]));
		add(m, n, 4);
		add(m, lists[i], strlen(lists[i]));
	}
	add(m, zeros, 8 + 1 + 4 + 7); /* languages, first packet follows, reserved, padding */
	put_be32(m->b + start, (uint32_t)(m->len - start - 4));
}

static const struct {
	const char *lists[N_KEX_LISTS];
	const char *why; /* NULL: all fits */
} cases[] = {
	{ { "dh,nistp", "rsa", "ctr", "ctr", "mac", "mac", "none", "none" }, NULL },
	{ { "curve", "ed", "x-gcm", "x-gcm", "sha1", "sha1", "none", "none" }, NULL },
	{ { "curve", "ed", "ctr,x-gcm", "x-gcm,ctr", "", "", "zlib,none", "none" }, NULL },
	{ { "dh,curved", "ed", "ctr", "ctr", "mac", "mac", "none", "none" },
	  "no key exchange in common: the server has dh,curved, we have curve,nistp" },
	{ { "", "ed", "ctr", "ctr", "mac", "mac", "none", "none" }, "no key exchange in common: the server has , we have curve,nistp" },
	{ { "curve", "dss", "ctr", "ctr", "mac", "mac", "none", "none" },
	  "no host key algorithm in common: the server has dss, we have ed,rsa" },
	{ { "curve", "ed", "cbc", "ctr", "mac", "mac", "none", "none" }, "no cipher in common: the server has cbc, we have x-gcm,ctr" },
	{ { "curve", "ed", "ctr", "cbc", "mac", "mac", "none", "none" }, "no cipher in common: the server has cbc, we have x-gcm,ctr" },
	{ { "curve", "ed", "x-gcm", "ctr", "sha1", "sha1", "none", "none" }, "no MAC in common: the server has sha1, we have etm,mac" },
	{ { "curve", "ed", "ctr", "ctr", "mac", "mac", "none", "zlib" }, "no compression in common: the server has zlib, we have none" },
};

static void each_mismatch(void **state)
{
	struct ssh_kexinit k;
	struct message m;
	char why[512];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		make(&m, cases[i].lists);
		assert_true(ssh_kexinit_parse((struct bytes){ m.b, m.len }, BANNER, &k));
		assert_int_equal(ssh_kexinit_mismatch(&k, ours, why, sizeof(why)), cases[i].why != NULL);
		if (cases[i].why)
			assert_string_equal(why, cases[i].why);
	}
}

static void a_long_list_is_cut(void **state)
{
	char many[1001], why[300];
	const char *lists[N_KEX_LISTS] = { many, "ed", "ctr", "ctr", "mac", "mac", "none", "none" };
	struct ssh_kexinit k;
	struct message m;

	memset(many, 'x', 1000);
	many[1000] = '\0';
	make(&m, lists);
	assert_true(ssh_kexinit_parse((struct bytes){ m.b, m.len }, BANNER, &k));
	assert_true(ssh_kexinit_mismatch(&k, ours, why, sizeof(why)));
	assert_non_null(strstr(why, "xxx..., we have curve,nistp"));
}

/* Cut anywhere, and with any length wrong: nothing is read, and never beyond the bytes (under the sanitizers). */
static void every_cut(void **state)
{
	struct ssh_kexinit k;
	struct message m;

	make(&m, cases[0].lists);
	for (size_t len = 0; len < m.len; len++) {
		uint8_t *exact = malloc(len + 1);

		memcpy(exact, m.b, len);
		assert_false(ssh_kexinit_parse((struct bytes){ exact, len }, BANNER, &k));
		free(exact);
	}
	assert_true(ssh_kexinit_parse((struct bytes){ m.b, m.len }, BANNER, &k));
	assert_false(ssh_kexinit_parse((struct bytes){ m.b, m.len }, "SSH-2.0-other", &k));
	assert_false(ssh_kexinit_parse((struct bytes){ m.b, m.len }, "", &k));
	for (size_t i = strlen(BANNER) + 2; i < m.len; i++) {
		uint8_t was = m.b[i];

		m.b[i] = 0xff;
		if (ssh_kexinit_parse((struct bytes){ m.b, m.len }, BANNER, &k))
			for (size_t j = 0; j < N_KEX_LISTS; j++)
				assert_true(k.lists[j].p >= m.b && k.lists[j].p + k.lists[j].len <= m.b + m.len);
		m.b[i] = was;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mismatch),
		cmocka_unit_test(a_long_list_is_cut),
		cmocka_unit_test(every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
