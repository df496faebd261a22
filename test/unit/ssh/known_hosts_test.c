#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"
#include "ssh/known_hosts.h"
#include "test/lib/testing.h"

#define ED "ssh-ed25519"
#define KEY "AAAAC3NzaC1lZDI1NTE5AAAAIA=="
#define OTHER "AAAAC3NzaC1lZDI1NTE5AAAAIB=="

static enum known_host check(const char *file, const char *name, unsigned *ret_line)
{
	const char *const names[] = { name, NULL };

	return known_hosts_check((struct bytes){ (const uint8_t *)file, strlen(file) }, names, ED, KEY, ret_line);
}

static void lines_are_judged(void **state)
{
	static const struct {
		const char *file;
		enum known_host want;
		unsigned line;
	} rows[] = {
		{ "", KNOWN_HOST_UNKNOWN, 0 },
		{ "\n\n# box " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "box " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "box " ED " " KEY, KNOWN_HOST_MATCH, 0 },
		{ "a,box,c\t" ED "  " KEY " a comment\n", KNOWN_HOST_MATCH, 0 },
		{ "box " ED " " KEY "\r\n", KNOWN_HOST_MATCH, 0 },
		{ "x " ED " " OTHER "\r\nbox " ED " " OTHER "\r\n", KNOWN_HOST_MISMATCH, 2 },
		{ "box ssh-rsa " KEY "\n", KNOWN_HOST_MISMATCH, 1 },
		{ "box " ED " " OTHER "\nbox " ED " " KEY "\n", KNOWN_HOST_MATCH, 1 },
		{ "boxes " ED " " KEY "\nbo " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "[box]:2222 " ED " " OTHER "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "box " ED " " KEY "\n@revoked box " ED " " KEY "\n", KNOWN_HOST_REVOKED, 2 },
		{ "@revoked * " ED " " KEY "\nbox " ED " " KEY "\n", KNOWN_HOST_REVOKED, 1 },
		{ "@revoked box " ED " " OTHER "\nbox " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "@cert-authority box " ED " " KEY "\n", KNOWN_HOST_CA_ONLY, 0 },
		{ "@cert-authority * " ED " " KEY "\nbox " ED " " OTHER "\n", KNOWN_HOST_MISMATCH, 2 },
		{ "|1| " ED " " KEY "\n|1|x|y " ED " " KEY "\n|1|||| x\n@ \nbox\n", KNOWN_HOST_MISMATCH, 5 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned line = 0;

		assert_int_equal(check(rows[i].file, "box", &line), rows[i].want);
		assert_int_equal(line, rows[i].line);
	}
}

static void ports_are_part_of_the_name(void **state)
{
	unsigned line = 0;

	assert_int_equal(check("[box]:2222 " ED " " KEY "\n", "[box]:2222", &line), KNOWN_HOST_MATCH);
	assert_int_equal(check("box " ED " " KEY "\n", "[box]:2222", &line), KNOWN_HOST_UNKNOWN);
	assert_int_equal(check("[box]:2222 " ED " " OTHER "\n", "[box]:2222", &line), KNOWN_HOST_MISMATCH);
}

/* The key in base64 of an OpenSSH public key file. */
static void read_public_key(const char *file, char ret[256])
{
	char *text;
	size_t len;

	assert_int_equal(os_file_read(file, 4096, &text, &len), OK);
	assert_int_equal(sscanf(text, "ssh-ed25519 %255s", ret), 1);
	free(text);
}

static void entries_hashed_by_ssh_keygen_match(void **state)
{
	static const char *const box[] = { "box", NULL }, *const port[] = { "[10.0.0.1]:2222", NULL },
				 *const none[] = { "bo", NULL };
	char dir[] = "/tmp/nefia-known-XXXXXX", cmd[512], path[64], key[256], *text;
	unsigned line = 0;
	struct bytes file;
	size_t len;

	if (system("command -v ssh-keygen >/dev/null") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd),
		 "cd %s && ssh-keygen -q -t ed25519 -N '' -f k && { echo \"box $(cut -d' ' -f1,2 k.pub)\"; "
		 "echo \"[10.0.0.1]:2222 $(cut -d' ' -f1,2 k.pub)\"; } >known && ssh-keygen -q -H -f known >/dev/null 2>&1",
		 dir);
	assert_int_equal(system(cmd), 0);
	snprintf(path, sizeof(path), "%s/k.pub", dir);
	read_public_key(path, key);
	snprintf(path, sizeof(path), "%s/known", dir);
	assert_int_equal(os_file_read(path, 4096, &text, &len), OK);
	file = (struct bytes){ (const uint8_t *)text, len };
	assert_memory_equal(text, "|1|", 3);
	assert_int_equal(known_hosts_check(file, box, ED, key, &line), KNOWN_HOST_MATCH);
	assert_int_equal(known_hosts_check(file, port, ED, key, &line), KNOWN_HOST_MATCH);
	assert_int_equal(known_hosts_check(file, none, ED, key, &line), KNOWN_HOST_UNKNOWN);
	assert_int_equal(known_hosts_check(file, port, ED, OTHER, &line), KNOWN_HOST_MISMATCH);
	assert_int_equal(line, 2);
	free(text);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_judged),
		cmocka_unit_test(ports_are_part_of_the_name),
		cmocka_unit_test(entries_hashed_by_ssh_keygen_match),
	};

	return RUN_TESTS(tests);
}
