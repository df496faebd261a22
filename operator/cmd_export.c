/*
 * operator/cmd_export.c - `nefia export | import`: an operator moves to another machine.
 *
 * What moves: nefia.yaml, the known host keys, and the hub's state (the timestamp watermark, without which agents would
 * refuse the new machine, and the hosts' last endpoints). SSH keys stay where they are. The file is encrypted under a passphrase:
 *
 *	"nefia-export v1\n", salt (16), nonce (24), XSalsa20-Poly1305 of a JSON object of file names and texts
 *
 * with the key from Argon2id (3 passes, 64 MiB). Two machines with one key would take the hosts from each other, so the old one
 * is retired by the export: its nefia.yaml gets another name, after the written file has been read back.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "operator/askpass.h"
#include "operator/cmd.h"
#include "operator/hub.h"
#include "operator/hub_client.h"
#include "os/file.h"

#define MAGIC "nefia-export v1\n"
#define MAGIC_LEN (sizeof(MAGIC) - 1)
#define SALT_LEN crypto_pwhash_SALTBYTES
#define NONCE_LEN crypto_secretbox_NONCEBYTES
#define HEAD_LEN (MAGIC_LEN + SALT_LEN + NONCE_LEN)
#define FILE_MAX (16u << 20)
#define PASSPHRASE_MAX 1024
#define PASSES 3
#define MEMORY (64u << 20)

static const char *const names[] = { "nefia.yaml", "known_hosts", "hub-state.json" };

struct export_flags {
	const char *passphrase_file;
};

const struct cli_option export_options[] = {
	{ "passphrase-file", 0, "FILE", "read the passphrase there; '-' = standard input", option_text,
	  offsetof(struct export_flags, passphrase_file) },
	{ .name = NULL },
};

/* ---- the passphrase ---- */

static int read_passphrase(struct cli *cli, const char *file, bool twice, char ret[PASSPHRASE_MAX])
{
	char again[PASSPHRASE_MAX];
	FILE *f = !file ? NULL : strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	bool ok;

	if (file && !f)
		return cli_error(cli, 1041, "%s: %s", file, strerror(errno));
	ok = f ? fgets(ret, PASSPHRASE_MAX, f) != NULL : askpass_read("Passphrase: ", ret, PASSPHRASE_MAX);
	if (f && f != stdin)
		fclose(f);
	if (!ok)
		return cli_usage(cli, "a passphrase is needed: at a terminal, or by --passphrase-file");
	ret[strcspn(ret, "\r\n")] = '\0';
	if (twice && !f) {
		ok = askpass_read("Once more: ", again, sizeof(again));
		again[strcspn(again, "\r\n")] = '\0';
		ok = ok && strcmp(ret, again) == 0;
		sodium_memzero(again, sizeof(again));
		if (!ok)
			return cli_usage(cli, "the two passphrases differ");
	}
	if (twice && strlen(ret) < 8)
		return cli_usage(cli, "the passphrase needs at least 8 characters: the file holds your key");
	return 0;
}

static bool key_of(const char *passphrase, const uint8_t *salt, uint8_t ret[crypto_secretbox_KEYBYTES])
{
	return crypto_pwhash(ret, crypto_secretbox_KEYBYTES, passphrase, strlen(passphrase), salt, PASSES, MEMORY,
			     crypto_pwhash_ALG_ARGON2ID13) == 0;
}

/* ---- the file ---- */

static enum err seal(const char *plain, const char *passphrase, uint8_t **ret, size_t *ret_len)
{
	size_t len = strlen(plain);
	uint8_t key[crypto_secretbox_KEYBYTES], *out = malloc(HEAD_LEN + crypto_secretbox_MACBYTES + len);
	enum err e = ERR_NOMEM;

	if (!out)
		return e;
	memcpy(out, MAGIC, MAGIC_LEN);
	randombytes_buf(out + MAGIC_LEN, SALT_LEN + NONCE_LEN);
	if (key_of(passphrase, out + MAGIC_LEN, key)) {
		crypto_secretbox_easy(out + HEAD_LEN, (const uint8_t *)plain, len, out + MAGIC_LEN + SALT_LEN, key);
		*ret = out;
		*ret_len = HEAD_LEN + crypto_secretbox_MACBYTES + len;
		e = OK;
	} else {
		free(out);
	}
	sodium_memzero(key, sizeof(key));
	return e;
}

/* Return: OK; ERR_FORMAT: no such file; ERR_AUTH: another passphrase, or damaged; ERR_NOMEM. */
static enum err open_sealed(const uint8_t *p, size_t len, const char *passphrase, char **ret)
{
	uint8_t key[crypto_secretbox_KEYBYTES];
	enum err e = ERR_AUTH;
	size_t plain_len;
	char *plain;

	if (len < HEAD_LEN + crypto_secretbox_MACBYTES || memcmp(p, MAGIC, MAGIC_LEN) != 0)
		return ERR_FORMAT;
	plain_len = len - HEAD_LEN - crypto_secretbox_MACBYTES;
	plain = malloc(plain_len + 1);
	if (!plain || !key_of(passphrase, p + MAGIC_LEN, key)) {
		free(plain);
		return ERR_NOMEM;
	}
	if (crypto_secretbox_open_easy((uint8_t *)plain, p + HEAD_LEN, len - HEAD_LEN, p + MAGIC_LEN + SALT_LEN, key) == 0) {
		plain[plain_len] = '\0';
		*ret = plain;
		e = OK;
	} else {
		free(plain);
	}
	sodium_memzero(key, sizeof(key));
	return e;
}

static enum err read_back(const char *file, const char *passphrase, json_t **ret)
{
	char *sealed, *plain = NULL;
	size_t len;
	enum err e = os_file_read(file, FILE_MAX, &sealed, &len);

	if (e != OK)
		return e;
	e = open_sealed((const uint8_t *)sealed, len, passphrase, &plain);
	free(sealed);
	if (e != OK)
		return e;
	*ret = json_loads(plain, JSON_REJECT_DUPLICATES, NULL);
	sodium_memzero(plain, strlen(plain));
	free(plain);
	if (json_is_object(*ret) && json_is_string(json_object_get(*ret, names[0])))
		return OK;
	json_decref(*ret);
	return ERR_FORMAT;
}

static void path_of(const struct cli *cli, size_t i, char ret[PATH_MAX])
{
	if (i == 0)
		snprintf(ret, PATH_MAX, "%s", cli->config);
	else
		snprintf(ret, PATH_MAX, "%.*s/%s", PATH_MAX - 32, cli->home, names[i]);
}

/* ---- export ---- */

/* One that is not there is none of ours; one that cannot be had must not be left behind. */
static enum err collect_one(json_t *all, const char *name, const char *path)
{
	char *text;
	size_t len;
	enum err e = os_file_read(path, FILE_MAX / 4, &text, &len);

	if (e != OK)
		return e == ERR_NOT_FOUND ? OK : e;
	if (json_object_set_new(all, name, json_string(text)) != 0)
		e = ERR_FORMAT; /* not UTF-8 */
	sodium_memzero(text, len);
	free(text);
	return e;
}

/* 0, or an exit code after a message */
static int collect(const struct cli *cli, json_t *all)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[PATH_MAX];
		enum err e;

		path_of(cli, i, path);
		e = collect_one(all, names[i], path);
		if (e != OK)
			return cli_error(cli, 1041, "%s: %s", path, err_text(e));
	}
	return 0;
}

static enum err write_sealed(const json_t *all, const char *file, const char *passphrase)
{
	char *plain = json_dumps(all, JSON_COMPACT);
	json_t *back = NULL;
	uint8_t *sealed = NULL;
	size_t len = 0;
	enum err e = plain ? seal(plain, passphrase, &sealed, &len) : ERR_NOMEM;

	if (e == OK)
		e = os_file_write_atomic(file, sealed, len, 0600);
	if (e == OK)
		e = read_back(file, passphrase, &back);
	if (e == OK && !json_equal(all, back))
		e = ERR_IO;
	if (plain)
		sodium_memzero(plain, strlen(plain));
	free(plain);
	free(sealed);
	json_decref(back);
	return e;
}

/* NAME.retired, or a number behind that: the one of an earlier export may be the last copy of its key. Return: as rename() */
static int rename_aside(const char *path, char *ret, size_t size)
{
	int r = -1;

	errno = EEXIST;
	for (unsigned i = 1; r != 0 && errno == EEXIST && i < 1000; i++) {
		snprintf(ret, size, i > 1 ? "%s.retired.%u" : "%s.retired", path, i);
		r = renameat2(AT_FDCWD, path, AT_FDCWD, ret, RENAME_NOREPLACE);
		/* A file system that does not know it. */
		if (r != 0 && errno == EINVAL && access(ret, F_OK) == 0)
			errno = EEXIST;
		else if (r != 0 && errno == EINVAL)
			r = rename(path, ret);
	}
	return r;
}

static int retire(struct cli *cli, const char *file)
{
	char old[PATH_MAX + 16];

	if (rename_aside(cli->config, old, sizeof(old)) != 0)
		return cli_error(cli, 1006, "%s could not be renamed. Do it by hand before you import elsewhere", cli->config);
	printf("Written to %s. This machine is retired: its configuration is %s now.\nOn the other one: nefia import %s\n", file, old,
	       file);
	return EXIT_OK;
}

/* The hub's lock: while it is ours nobody uses the key or moves its watermark. On a machine that had no hub yet, its folder is new. */
static int take_lock(struct cli *cli, struct os_lock **ret)
{
	char folder[PATH_MAX];
	struct hub_paths paths;
	enum err e = hub_paths_init(cli->home, &paths);

	snprintf(folder, sizeof(folder), "%.*s/run", PATH_MAX - 8, cli->home);
	if (e == OK)
		e = os_mkdir_p(folder, 0700);
	if (e == OK)
		e = os_lock_take(paths.lock, 1, ret);
	if (e == ERR_IN_USE)
		return cli_error(cli, 1012, "it uses the key that is to move: stop it first");
	return e == OK ? 0 : cli_error(cli, 1006, "%s cannot be used: %s", cli->home, err_text(e));
}

int cmd_export(struct cli *cli, int argc, char **argv)
{
	struct export_flags f = { NULL };
	char passphrase[PASSPHRASE_MAX] = "";
	struct os_lock *lock = NULL;
	json_t *all;
	unsigned mode, uid;
	enum err e;
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	r = cli_load(cli);
	if (r != 0)
		return r;
	if (os_file_mode(argv[1], &mode, &uid) == OK)
		return cli_error(cli, 1041, "%s exists already", argv[1]);
	r = take_lock(cli, &lock);
	if (r != 0)
		return r;
	all = json_object();
	r = all ? collect(cli, all) : cli_error(cli, 1099, "out of memory");
	if (r == 0)
		r = read_passphrase(cli, f.passphrase_file, true, passphrase);
	if (r == 0) {
		e = write_sealed(all, argv[1], passphrase);
		r = e == OK ? retire(cli, argv[1]) : cli_error(cli, 1041, "%s: %s", argv[1], err_text(e));
	}
	json_decref(all);
	sodium_memzero(passphrase, sizeof(passphrase));
	os_lock_free(lock);
	return r;
}

/* ---- import ---- */

static int unpack(struct cli *cli, const json_t *all)
{
	struct config cfg;
	char why[512] = "";
	const char *text = json_string_value(json_object_get(all, names[0]));
	enum err e = config_parse(names[0], text, strlen(text), &cfg, why, sizeof(why));

	if (e != OK)
		return cli_error(cli, 1055, "%s", why);
	config_free(&cfg);
	e = os_mkdir_p(cli->home, 0700);
	/* nefia.yaml last: without it nothing is there yet. */
	for (size_t i = ARRAY_SIZE(names); e == OK && i-- > 0;) {
		char path[PATH_MAX];

		text = json_string_value(json_object_get(all, names[i]));
		path_of(cli, i, path);
		if (text)
			e = os_file_write_atomic(path, text, strlen(text), 0600);
	}
	if (e != OK)
		return cli_error(cli, 1006, "%s: %s", cli->home, err_text(e));
	return cli_load(cli);
}

int cmd_import(struct cli *cli, int argc, char **argv)
{
	struct export_flags f = { NULL };
	char passphrase[PASSPHRASE_MAX] = "";
	json_t *all = NULL;
	unsigned mode, uid;
	enum err e;
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	if (os_file_mode(cli->config, &mode, &uid) == OK)
		return cli_error(cli, 1005, "%s exists already", cli->config);
	r = read_passphrase(cli, f.passphrase_file, false, passphrase);
	if (r != 0)
		return r;
	e = read_back(argv[1], passphrase, &all);
	sodium_memzero(passphrase, sizeof(passphrase));
	if (e == ERR_AUTH)
		return cli_error(cli, 1055, "%s: the passphrase is another one, or the file is damaged", argv[1]);
	if (e == ERR_FORMAT)
		return cli_error(cli, 1055, "%s is no file of 'nefia export'", argv[1]);
	if (e != OK)
		return cli_error(cli, 1041, "%s: %s", argv[1], err_text(e));
	r = unpack(cli, all);
	json_decref(all);
	if (r != 0)
		return r;
	printf("Imported to %s: %zu host%s. SSH keys do not move: see ssh.identities there.\n"
	       "Agents that call the old address find you when the hub has called them once, or after: nefia vpn reinvite --name HOST --endpoint IP:PORT\n",
	       cli->home, cli->cfg.n_hosts, cli->cfg.n_hosts == 1 ? "" : "s");
	return EXIT_OK;
}
