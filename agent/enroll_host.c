/*
 * agent/enroll_host.c - what an enrollment touches on this machine beside our own files: the SSH server's keys, and a service.
 *
 * The keys are asked of the server that ssh_addr names (by ssh-keyscan), not read from files: so they are those that the
 * operator will meet.
 */
#include <fcntl.h>
#include <sodium.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/enroll.h"
#include "os/file.h"
#include "os/proc.h"

extern char **environ;

/* Runs @argv; its standard output into @buf (NULL: dropped). Return: its exit status, -1 when it did not run. */
static int run(char *const argv[], char *buf, size_t size)
{
	posix_spawn_file_actions_t fa;
	int fds[2], status = -1;
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -1;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&fa);
	close(fds[1]);
	for (char drop[512]; pid > 0;) {
		char *at = buf && used + 1 < size ? buf + used : drop;

		n = read(fds[0], at, at == drop ? sizeof(drop) : size - 1 - used);
		if (n <= 0)
			break;
		used += at == drop ? 0 : (size_t)n;
	}
	close(fds[0]);
	if (buf)
		buf[used] = '\0';
	if (pid <= 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* ---- the SSH server's keys ---- */

static void take_key(struct agent_enroll *a, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	size_t key_len = space ? len - (size_t)(space + 1 - line) : 0;

	if (line[0] == '#' || key_len == 0 || key_len >= ENROLL_HOST_KEY_LEN || a->req.n_host_keys == ENROLL_HOST_KEYS_MAX)
		return;
	memcpy(a->req.host_keys[a->req.n_host_keys], space + 1, key_len);
	a->req.host_keys[a->req.n_host_keys++][key_len] = '\0';
}

void agent_enroll_host_keys(struct agent_enroll *a)
{
	char host[256], out[8192];
	const char *colon = strrchr(a->ssh_addr, ':');
	char *argv[] = { "ssh-keyscan", "-T", "2", "-p", colon ? (char *)colon + 1 : "22", host, NULL };
	size_t len = colon ? (size_t)(colon - a->ssh_addr) : strlen(a->ssh_addr);

	if (len >= 2 && a->ssh_addr[0] == '[')
		snprintf(host, sizeof(host), "%.*s", (int)len - 2, a->ssh_addr + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)len, a->ssh_addr);
	if (!host[0] || host[0] == '-' || run(argv, out, sizeof(out)) != 0)
		return;
	for (const char *p = out; *p;) {
		size_t n = strcspn(p, "\n");

		take_key(a, p, n);
		p += n + (p[n] == '\n');
	}
}

bool agent_enroll_fingerprint(const char *key, char ret[64])
{
	uint8_t blob[ENROLL_HOST_KEY_LEN], hash[crypto_hash_sha256_BYTES];
	const char *b64 = strchr(key, ' ');
	size_t len;

	if (!b64 || sodium_base642bin(blob, sizeof(blob), b64 + 1, strlen(b64 + 1), NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
		return false;
	crypto_hash_sha256(hash, blob, len);
	strcpy(ret, "SHA256:");
	sodium_bin2base64(ret + 7, 57, hash, sizeof(hash), sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	return true;
}

/* ---- the service ---- */

/* A path as systemd's unit files want it in double quotes. False: it has a character that we do not quote. */
static bool is_plain_path(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || strchr("\"\\%$'", *s))
			return false;
	return true;
}

static enum err write_unit(const struct agent_enroll *a, const char *folder, bool system, char *path, size_t size)
{
	char text[8192], config[4096];
	enum err e = os_mkdir_p(folder, 0755);
	int n;

	if (e != OK)
		return e;
	if (!realpath(a->config, config) || !is_plain_path(config) || !is_plain_path(os_self_path()))
		return ERR_UNSUPPORTED;
	snprintf(path, size, "%s/nefia-agent.service", folder);
	n = snprintf(text, sizeof(text),
		     "[Unit]\nDescription=Nefia agent\nWants=network-online.target\nAfter=network-online.target\n\n"
		     "[Service]\nExecStart=%s run --config %s\nExecReload=/bin/kill -HUP $MAINPID\nRestart=always\nRestartSec=5\n"
		     "NoNewPrivileges=yes\n\n[Install]\nWantedBy=%s\n",
		     os_self_path(), config, system ? "multi-user.target" : "default.target");
	return n > 0 && (size_t)n < sizeof(text) ? os_file_write_atomic(path, text, (size_t)n, 0644) : ERR_TOO_LONG;
}

enum err agent_enroll_install(const struct agent_enroll *a, char *why, size_t why_size)
{
	bool system = geteuid() == 0;
	char folder[4096], path[4200];
	const char *home = os_home(), *data = getenv("XDG_CONFIG_HOME");
	char *reload[] = { "systemctl", system ? "--system" : "--user", "daemon-reload", NULL };
	char *enable[] = { "systemctl", system ? "--system" : "--user", "enable", "--now", "nefia-agent.service", NULL };
	enum err e;

	if (system)
		snprintf(folder, sizeof(folder), "/etc/systemd/system");
	else if (data && *data)
		snprintf(folder, sizeof(folder), "%s/systemd/user", data);
	else
		snprintf(folder, sizeof(folder), "%s/.config/systemd/user", home ? home : "");
	e = write_unit(a, folder, system, path, sizeof(path));
	if (e != OK) {
		snprintf(why, why_size, "the service file in %s could not be written: %s", folder, err_text(e));
		return e;
	}
	if (run(reload, NULL, 0) != 0 || run(enable, NULL, 0) != 0) {
		snprintf(why, why_size, "systemd did not start the service; its file is there: %.150s", path);
		return ERR_UNSUPPORTED;
	}
	return OK;
}
