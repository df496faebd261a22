/*
 * agent/service.c - see service.h.
 *
 * The agent needs a UDP socket, its sshd's TCP port, its own folder, and nothing else of the machine; the unit takes the rest
 * away. A unit of the system runs as root without root's powers: the file system is read-only but for the folder of
 * the configuration. A user's manager cannot mount, so its unit has what seccomp alone can do.
 *
 * The agent says when it is ready (Type=notify), so that an installation which does not work fails while somebody looks.
 */
#include "agent/service.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/program.h"
#include "os/file.h"
#include "os/proc.h"

#define UNIT "nefia-agent.service"

struct place {
	bool system;
	char folder[PATH_MAX], path[PATH_MAX + 32];
};

static enum err find_place(struct place *p)
{
	const char *home = os_home(), *xdg = getenv("XDG_CONFIG_HOME");
	int n;

	p->system = geteuid() == 0;
	if (p->system)
		n = snprintf(p->folder, sizeof(p->folder), "/etc/systemd/system");
	else if (xdg && *xdg)
		n = snprintf(p->folder, sizeof(p->folder), "%s/systemd/user", xdg);
	else if (home)
		n = snprintf(p->folder, sizeof(p->folder), "%s/.config/systemd/user", home);
	else
		return ERR_NOT_FOUND;
	snprintf(p->path, sizeof(p->path), "%s/" UNIT, p->folder);
	return n > 0 && n < PATH_MAX ? OK : ERR_TOO_LONG;
}

/* ---- the unit ---- */

static const char common_lines[] =
	"NoNewPrivileges=yes\n"
	"UMask=0077\n"
	"LimitCORE=0\n"
	"LockPersonality=yes\n"
	"MemoryDenyWriteExecute=yes\n"
	"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
	"RestrictNamespaces=yes\n"
	"RestrictRealtime=yes\n"
	"RestrictSUIDSGID=yes\n"
	"SystemCallArchitectures=native\n"
	"SystemCallErrorNumber=EPERM\n"
	"SystemCallFilter=@system-service\n"
	"SystemCallFilter=~@privileged @keyring\n";

static const char system_lines[] =
	"DevicePolicy=closed\n"
	"KeyringMode=private\n"
	"PrivateDevices=yes\n"
	"ProcSubset=pid\n"
	"ProtectClock=yes\n"
	"ProtectControlGroups=yes\n"
	"ProtectHome=read-only\n"
	"ProtectHostname=yes\n"
	"ProtectKernelLogs=yes\n"
	"ProtectKernelModules=yes\n"
	"ProtectKernelTunables=yes\n"
	"ProtectProc=invisible\n"
	"ProtectSystem=strict\n"
	"RemoveIPC=yes\n";

static bool is_in_tmp(const char *path)
{
	return strncmp(path, "/tmp/", 5) == 0 || strncmp(path, "/var/tmp/", 9) == 0;
}

static void write_system_lines(FILE *f, const char *folder, bool hides_tmp, bool needs_override)
{
	/* Port 443 and its like; and a folder that belongs to somebody else than root. */
	fprintf(f, "CapabilityBoundingSet=CAP_NET_BIND_SERVICE%s\n", needs_override ? " CAP_DAC_OVERRIDE" : "");
	fprintf(f, "%sReadWritePaths=%s\n%s", system_lines, folder, hides_tmp ? "PrivateTmp=yes\n" : "");
}

char *agent_service_unit(const char *program, const char *config, bool system, bool needs_override)
{
	char folder[PATH_MAX], *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	snprintf(folder, sizeof(folder), "%s", config);
	dirname(folder);
	fprintf(f, "# Written by nefia-agent; the next install-service writes it again.\n"
		   "[Unit]\nDescription=Nefia agent\nDocumentation=man:nefia-agent(1)\n%s"
		   "# A missing network or a wrong file may last: never give up.\nStartLimitIntervalSec=0\n\n",
		system ? "Wants=network-online.target\nAfter=network-online.target\n" : "");
	fprintf(f, "[Service]\nType=notify\nExecStart=%s run --config %s --log-file -\nExecReload=/bin/kill -HUP $MAINPID\n"
		   "Restart=always\nRestartSec=1\n# Open connections get 30 s to end.\nTimeoutStopSec=40\n%s",
		program, config, common_lines);
	if (system)
		write_system_lines(f, folder, !is_in_tmp(config) && !is_in_tmp(program), needs_override);
	fprintf(f, "\n[Install]\nWantedBy=%s\n", system ? "multi-user.target" : "default.target");
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* A path as a unit has it without quoting. */
static bool is_plain_path(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f || strchr("\"\\%$';:#", *s))
			return false;
	return true;
}

static enum err write_unit(const struct place *p, const char *config)
{
	char full[PATH_MAX], *text, folder[PATH_MAX];
	struct stat st;
	enum err e;

	if (!realpath(config, full))
		return ERR_NOT_FOUND;
	if (!is_plain_path(full) || !is_plain_path(os_self_path()))
		return ERR_UNSUPPORTED;
	snprintf(folder, sizeof(folder), "%s", full);
	if (stat(dirname(folder), &st) != 0)
		return ERR_IO;
	text = agent_service_unit(os_self_path(), full, p->system, st.st_uid != geteuid());
	if (!text)
		return ERR_NOMEM;
	e = os_mkdir_p(p->folder, 0755);
	if (e == OK)
		e = os_file_write_atomic(p->path, text, strlen(text), 0644);
	free(text);
	return e;
}

/* ---- systemd ---- */

static bool systemctl(const struct place *p, const char *verb, const char *option, const char *unit)
{
	char *argv[6] = { (char *)"systemctl", p->system ? (char *)"--system" : (char *)"--user", (char *)verb };
	size_t n = 3;

	if (option)
		argv[n++] = (char *)option;
	if (unit)
		argv[n++] = (char *)unit;
	return agent_program_run(argv, NULL, 0) == 0;
}

/* A user's services end with the last session, unless it lingers. */
static void linger(void)
{
	char *argv[] = { (char *)"loginctl", (char *)"--no-ask-password", (char *)"enable-linger", NULL };

	if (agent_program_run(argv, NULL, 0) != 0)
		fprintf(stderr, "The service runs while you are logged in. From boot on: sudo loginctl enable-linger %s\n",
			getenv("USER") ? getenv("USER") : "$USER");
}

static enum err start(const struct place *p, char *why, size_t why_size)
{
	const char *flag = p->system ? "" : " --user";

	if (!systemctl(p, "daemon-reload", NULL, NULL)) {
		snprintf(why, why_size, "systemd does not answer here; the service's file is there: %.300s", p->path);
		return ERR_UNSUPPORTED;
	}
	/* Not start: one that runs already has the old program and configuration. */
	if (!systemctl(p, "enable", NULL, UNIT) || !systemctl(p, "restart", NULL, UNIT)) {
		snprintf(why, why_size, "systemd could not start the service; why: systemctl%s status nefia-agent, journalctl%s -u nefia-agent",
			 flag, flag);
		return ERR_UNSUPPORTED;
	}
	if (!p->system)
		linger();
	return OK;
}

enum err agent_service_install(const char *config, char *why, size_t why_size)
{
	struct place p;
	enum err e = find_place(&p);

	if (e == OK)
		e = write_unit(&p, config);
	if (e == OK)
		return start(&p, why, why_size);
	if (e == ERR_UNSUPPORTED)
		snprintf(why, why_size, "a service file cannot name these paths: %.150s, %.150s", os_self_path(), config);
	else if (e == ERR_NOT_FOUND)
		snprintf(why, why_size, "there is no configuration %.300s", config);
	else
		snprintf(why, why_size, "the service file in %.300s could not be written: %s", p.folder, err_text(e));
	return e;
}

enum err agent_service_remove(char *why, size_t why_size)
{
	struct place p;
	enum err e = find_place(&p);

	if (e != OK || access(p.path, F_OK) != 0) {
		snprintf(why, why_size, "no service is installed%s", e == OK && !p.system ? " for this user; the system's: as root" : "");
		return ERR_NOT_FOUND;
	}
	/* It may not run, or systemd may be gone: the file is removed all the same. */
	systemctl(&p, "disable", "--now", UNIT);
	if (unlink(p.path) != 0) {
		snprintf(why, why_size, "%.300s could not be removed", p.path);
		return ERR_PERMISSION;
	}
	systemctl(&p, "daemon-reload", NULL, NULL);
	systemctl(&p, "reset-failed", NULL, UNIT);
	return OK;
}

/* ---- commands ---- */

static int fail(const char *why, const char *hint)
{
	fprintf(stderr, "Error: %s\nTry: %s\n", why, hint);
	return AGENT_EXIT_FAILURE;
}

int agent_cmd_install_service(const struct agent_options *opt, int argc, char **argv)
{
	char why[1024];

	if (argc > 1) {
		fprintf(stderr, "nefia-agent: 'install-service' takes no '%s'; the configuration is --config PATH\n", argv[1]);
		return AGENT_EXIT_USAGE;
	}
	if (access(opt->config, R_OK) != 0) {
		fprintf(stderr, "nefia-agent: %s cannot be read\n", opt->config);
		return fail("there is no configuration to run with", "Enroll first: nefia-agent enroll --token-file - --install");
	}
	if (agent_service_install(opt->config, why, sizeof(why)) != OK)
		return fail(why, "Run it by hand meanwhile: nefia-agent run");
	printf("Service installed.\n");
	return 0;
}

int agent_cmd_uninstall_service(const struct agent_options *opt, int argc, char **argv)
{
	bool yes = argc == 2 && strcmp(argv[1], "--yes") == 0;
	char why[1024], line[16] = "";

	if (argc > 1 && !yes) {
		fprintf(stderr, "nefia-agent: 'uninstall-service' does not know '%s'\n", argv[1]);
		return AGENT_EXIT_USAGE;
	}
	if (!yes && !isatty(STDIN_FILENO)) {
		fprintf(stderr, "nefia-agent: nobody can be asked here: give --yes\n");
		return AGENT_EXIT_USAGE;
	}
	if (!yes) {
		fprintf(stderr, "Stop the agent and remove its service? The configuration stays. [y/N] ");
		if (!fgets(line, sizeof(line), stdin) || (line[0] != 'y' && line[0] != 'Y'))
			return AGENT_EXIT_FAILURE;
	}
	if (agent_service_remove(why, sizeof(why)) != OK)
		return fail(why, "nefia-agent install-service installs one.");
	printf("Service removed.\n");
	return 0;
}
