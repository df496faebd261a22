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
		{ "box " ED " " OTHER "\nbox " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "boxes " ED " " KEY "\nbo " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "[box]:2222 " ED " " OTHER "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "box " ED " " KEY "\n@revoked box " ED " " KEY "\n", KNOWN_HOST_REVOKED, 2 },
		{ "@revoked * " ED " " KEY "\nbox " ED " " KEY "\n", KNOWN_HOST_REVOKED, 1 },
		{ "@revoked box " ED " " OTHER "\nbox " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "@cert-authority box " ED " " KEY "\n", KNOWN_HOST_CA_ONLY, 0 },
		{ "@cert-authority * " ED " " KEY "\nbox " ED " " OTHER "\n", KNOWN_HOST_MISMATCH, 2 },
		{ "@cert-authority b* " ED " " KEY "\n", KNOWN_HOST_CA_ONLY, 0 },
		{ "@revoked b?x " ED " " KEY "\nbox " ED " " KEY "\n", KNOWN_HOST_REVOKED, 1 },
		{ "box " ED " " KEY "\n@revoked *,!box " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "@revoked BOX " ED " " KEY "\n", KNOWN_HOST_REVOKED, 1 },
		{ "b*,!box " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "!box,b* " ED " " OTHER "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "!other " ED " " OTHER "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "* " ED " " OTHER "\nbox " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "@unknown box " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "@REVOKED box " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "box 1024 35 12345678901\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "box\nbox " ED "\n@revoked box\n@revoked\n@\n \t\n", KNOWN_HOST_UNKNOWN, 0 },
		{ "|1| " ED " " KEY "\n|1|x|y " ED " " KEY "\n|1|||| x y\n|2|box " ED " " KEY "\n", KNOWN_HOST_UNKNOWN, 0 },
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

/* With several names the first that is known decides; a revocation wins under any. */
static void the_first_known_name_decides(void **state)
{
	static const char *const names[] = { "web.nefia", "10.99.0.2", NULL };
	static const struct {
		const char *file;
		enum known_host want;
		unsigned line;
	} rows[] = {
		{ "10.99.0.2 " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "10.99.0.2 " ED " " OTHER "\n", KNOWN_HOST_MISMATCH, 1 },
		{ "web.nefia " ED " " KEY "\n10.99.0.2 " ED " " OTHER "\n", KNOWN_HOST_MATCH, 0 },
		{ "web.nefia " ED " " OTHER "\nold.nefia,10.99.0.2 " ED " " KEY "\n", KNOWN_HOST_MISMATCH, 1 },
		{ "web.nefia " ED " " KEY "\n@revoked 10.99.* " ED " " KEY "\n", KNOWN_HOST_REVOKED, 2 },
		{ "@cert-authority *.nefia " ED " " OTHER "\n10.99.0.2 " ED " " KEY "\n", KNOWN_HOST_MATCH, 0 },
		{ "@cert-authority *.nefia " ED " " OTHER "\n", KNOWN_HOST_CA_ONLY, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes file = { (const uint8_t *)rows[i].file, strlen(rows[i].file) };
		unsigned line = 0;

		assert_int_equal(known_hosts_check(file, names, ED, KEY, &line), rows[i].want);
		assert_int_equal(line, rows[i].line);
	}
}

static const char *const patterns[] = {
	"box",	     "BOX",	    "Box.Example.COM", "*.example.com",	"*.EXAMPLE.com", "*",	       "?ox",	   "b?x",
	"b*x",	     "b**x",	    "*o*",	       "bo?",		"bo??",		 "*.example.com,!db.example.com",
	"!db.example.com,*.example.com", "!*",	       "!box",		"*,!box",	 "box,db",	   ",box,", "box,,db",
	"!",	     "*,!",	    "a,b,c",	       "[box]:2222",	"[*]:2222",	 "[b?x]:*",    "*:2222",   "[box]:22",
	"10.0.?.*",  "10.0.0.1",    "fe80::1",	       "[fe80::1]:22*", "*a*a*a*a*a*a*b", "**********", "????????", "box*", "*box",
	"b[o]x",     "b\\*x",	    "d*.example.com,!*.com",
};
static const char *const hosts[] = { "box",	  "db",	      "boxes",	    "db.example.com", "a.example.com",
				     "example.com", "[box]:2222", "[db]:2222",    "10.0.0.1",	"10.0.12.9",
				     "fe80::1",	  "[fe80::1]:2222", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };

/* ssh-keygen -F tells the lines that speak of a name: ours must be the same ones. */
static void patterns_match_as_ssh_keygen_says(void **state)
{
	char path[] = "/tmp/nefia-patterns-XXXXXX", cmd[256];
	int fd = mkstemp(path);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	/* A key that ssh-keygen can read; lines of others it would skip. */
	static const char key[] = "AAAAC3NzaC1lZDI1NTE5AAAAIGYT0w7pkrDOs4qkeHO0PQ8jYRmHOwHvq0ZvdIdNnlN1";

	assert_non_null(f);
	if (system("command -v ssh-keygen >/dev/null") != 0)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		fprintf(f, "%s ssh-ed25519 %s\n", patterns[i], key);
	fclose(f);
	for (size_t h = 0; h < ARRAY_SIZE(hosts); h++) {
		bool theirs[ARRAY_SIZE(patterns)] = { false };
		unsigned line;
		char text[512];
		FILE *out;

		snprintf(cmd, sizeof(cmd), "ssh-keygen -F '%s' -f %s", hosts[h], path);
		out = popen(cmd, "r");
		assert_non_null(out);
		while (fgets(text, sizeof(text), out))
			if (sscanf(text, "# Host %*s found: line %u", &line) == 1 && line <= ARRAY_SIZE(patterns))
				theirs[line - 1] = true;
		pclose(out);
		for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
			struct bytes list = { (const uint8_t *)patterns[i], strlen(patterns[i]) };

			if (known_hosts_name_matches(list, hosts[h]) != theirs[i])
				fail_msg("'%s' and '%s': ssh-keygen says %d", patterns[i], hosts[h], theirs[i]);
		}
	}
	unlink(path);
}

static void hostile_patterns_take_no_time(void **state)
{
	char list[4096], name[256];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < sizeof(list); i += 2)
		memcpy(list + i, "*a", 2);
	list[sizeof(list) - 1] = 'b';
	assert_false(known_hosts_name_matches((struct bytes){ (const uint8_t *)list, sizeof(list) }, name));
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

static void types_that_are_known(void **state)
{
	static const char *const names[] = { "box", "10.0.0.1", NULL };
	static const char file[] = "box ssh-rsa A\n10.* ssh-ed25519 B\nother ecdsa-sha2-nistp256 C\n@revoked box x-revoked D\n"
				   "box ssh-rsa E\n@cert-authority * x-ca F\nbox bad,type G\nb?x ecdsa-sha2-nistp521 H\n";
	char types[256];

	known_hosts_types((struct bytes){ (const uint8_t *)file, strlen(file) }, names, types);
	assert_string_equal(types, "ssh-rsa,ssh-ed25519,ecdsa-sha2-nistp521");
	known_hosts_types((struct bytes){ NULL, 0 }, names, types);
	assert_string_equal(types, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_judged),
		cmocka_unit_test(the_first_known_name_decides),
		cmocka_unit_test(patterns_match_as_ssh_keygen_says),
		cmocka_unit_test(hostile_patterns_take_no_time),
		cmocka_unit_test(types_that_are_known),
		cmocka_unit_test(ports_are_part_of_the_name),
		cmocka_unit_test(entries_hashed_by_ssh_keygen_match),
	};

	return RUN_TESTS(tests);
}
