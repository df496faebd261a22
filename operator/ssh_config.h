/*
 * operator/ssh_config.h - what ssh_config(5) has to say so that plain ssh reaches the hosts, and the one line that includes it.
 *
 * Pure on text; the files are cmd_ssh_config.c's.
 */
#ifndef OPERATOR_SSH_CONFIG_H
#define OPERATOR_SSH_CONFIG_H

#include <stdio.h>

#include "base/err.h"
#include "operator/config.h"

#define SSH_SUFFIX ".nefia"
#define SSH_SUFFIX_MAX 64

struct ssh_config {
	const char *program;     /* the path of nefia */
	const char *home;        /* NEFIA_HOME for it; NULL: the default one */
	const char *config;      /* --config for it; NULL: the one in its home */
	const char *known_hosts; /* ours */
	const char *suffix;      /* with its dot */
	bool fdpass;             /* hand the connection over instead of copying it */
	bool only_named;         /* the hosts that are given and no others: no wildcard */
};

/**
 * ssh_config_print() - the whole snippet
 * @hosts: those with something of their own to say; all of them when @cfg.only_named
 *
 * Return: OK; ERR_FORMAT: a path cannot be written in such a file, *ret_what names it.
 */
MUST_CHECK enum err ssh_config_print(FILE *f, const struct ssh_config *cfg, const struct config *c,
				     const struct host_config *const *hosts, size_t n_hosts, const char **ret_what);
/** ssh_config_suffix() - ".nefia" of "nefia" or ".nefia"; false: no name could end so */
bool ssh_config_suffix(const char *text, char ret[SSH_SUFFIX_MAX]);
/** ssh_config_host_of() - the host's name in @name: without @suffix when it has that */
void ssh_config_host_of(const char *name, const char *suffix, char *ret, size_t size);

/** ssh_config_include_line() - "Include PATH" for a file; free it. ERR_FORMAT: no such line can be written; ERR_NOMEM. */
MUST_CHECK enum err ssh_config_include_line(const char *path, char **ret);
/** ssh_config_includes() - is @line there, where it counts for every host? */
bool ssh_config_includes(struct bytes text, const char *line);
/** ssh_config_without() - @text without @line, wherever it stands. Free ret->p, also when it is empty. */
MUST_CHECK enum err ssh_config_without(struct bytes text, const char *line, struct bytes *ret);

#endif
