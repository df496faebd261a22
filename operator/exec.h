/*
 * operator/exec.h - what the files of `nefia exec` share: one run of a command on several hosts.
 *
 *	WAITING   not started: all slots are taken, or it waits before another try
 *	RUNNING   a session with its SSH worker stands
 *	DONE      it ended, or failed for good; reported
 */
#ifndef OPERATOR_EXEC_H
#define OPERATOR_EXEC_H

#include "operator/cmd.h"
#include "operator/session_client.h"

#define EXEC_STATUS_TIME_LIMIT 124
#define EXEC_STATUS_SIGNAL 128 /* and its number, as a shell has it */
#define EXEC_STATUS_OUR_FAILURE 255
#define EXEC_COMMAND_MAX 34000 /* more does not fit into a packet of libssh2 */

enum exec_state { EXEC_WAITING, EXEC_RUNNING, EXEC_DONE };

struct exec_stream {
	struct ssh_buf kept; /* a line that has no end yet, or all of it (JSON, --ordered) */
	int file;            /* of --output-dir; -1 = none */
	bool truncated;
};

struct exec_host {
	struct exec *x;
	const struct host_config *host;
	enum exec_state state;
	struct session s;
	struct exec_stream streams[2]; /* stdout, stderr */
	nsec_t first_try, started, ended;
	nsec_t deadline; /* of --timeout */
	nsec_t retry_at; /* WAITING: not before */
	unsigned n_tries;
	uint64_t fed;  /* bytes of the input */
	bool fed_all;
	bool timed_out, cancelled, told_to_end;
	unsigned ecode; /* the hub's reason; 0 = see the session */
};

struct exec {
	struct cli *cli;
	struct hub_client *hc;
	struct exec_host *hosts;
	size_t n_hosts, n_running, n_done;
	/* what was asked for */
	char command[EXEC_COMMAND_MAX];
	int parallel;
	nsec_t timeout; /* 0 = none */
	bool ordered;
	const char *output_dir;
	/* the input: our own, passed on as it comes (one host), or a script and a file, the same for all */
	bool pass_stdin;
	char *script;
	size_t script_len;
	int input_fd; /* -1 = none */
	/* output */
	size_t turn;   /* --ordered: the host that may print */
	int id_width;
	enum err output_error;
	/* the end */
	bool interrupted;
	nsec_t leave_at;
};

/* ---- exec_output.c ---- */
/** exec_output_open() - the files of --output-dir. Return: 0, or an exit code after a message. */
MUST_CHECK int exec_output_open(struct exec *x);
/** exec_output_data() - a session_data_fn; its context is the host. false: nobody takes it (x->output_error) */
bool exec_output_data(void *host, enum ssh_frame type, struct bytes data);
/** exec_output_held() - is so much kept for @h that no more should be read? */
bool exec_output_held(const struct exec_host *h);
/** exec_output_done() - @h is DONE: what is left of its output, and how it ended */
void exec_output_done(struct exec_host *h);
/** exec_output_summary() - after the last, with several hosts */
void exec_output_summary(const struct exec *x);
/** exec_host_status() - its exit status as a shell would have it; as the server told it, so it may be above 255 */
int exec_host_status(const struct exec_host *h);
/** exec_exit_code() - the same for our own end, which has 8 bits: what does not fit is EXEC_STATUS_OUR_FAILURE, never 0 */
int exec_exit_code(const struct exec_host *h);

/* ---- exec_script.c ---- */
/**
 * exec_script_load() - read @path into @x and make the command that runs it
 * @args: the script's arguments
 * Return: 0, or an exit code after a message.
 */
MUST_CHECK int exec_script_load(struct exec *x, const char *path, char *const *args, int n_args);
/**
 * exec_script_command() - the remote command for a script of @len bytes that comes first on standard input
 * @with_input: more follows, for the script itself
 * Return: OK; ERR_FORMAT: no interpreter stands behind #!; ERR_TOO_LONG.
 */
MUST_CHECK enum err exec_script_command(const char *script, size_t len, bool with_input, char *const *args, int n_args,
					char *ret, size_t size);

/* ---- cmd_exec.c ---- */
/** exec_join_words() - by spaces, as ssh does; false: longer than @size */
bool exec_join_words(char *ret, size_t size, int n, char **words);

/* ---- exec_run.c ---- */
/** exec_interrupted_by() - the signal that asked us to end; 0 = none */
int exec_interrupted_by(void);
/** exec_run() - all hosts, to the end. Return: the exit status. */
int exec_run(struct exec *x);

#endif
