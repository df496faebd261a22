/* os/proc.h - child processes, daemons, privileges, what the process tells of itself. */
#ifndef OS_PROC_H
#define OS_PROC_H

#include <sys/types.h>

#include "base/err.h"
#include "os/loop.h"

/** os_self_path() - this program's file, for starting itself again; valid for ever */
const char *os_self_path(void);

struct os_child;
/* @exit_code -1 without a signal: it ended, and how is not known */
typedef void (*os_exit_fn)(void *ctx, int exit_code, int term_signal);
struct os_spawn {
	const char *const *argv;   /* argv[0] is the file */
	const char *const *env;    /* NULL = ours */
	int fds[8];                /* fds[i] becomes descriptor i in the child; -1 = /dev/null for 0..2 */
	size_t n_fds;              /* all others are closed */
	bool ends_with_us;         /* SIGTERM when we end, however */
	bool new_session;          /* setsid: survives the terminal */
	bool orphan;               /* not our child: no SIGCHLD, nothing for a wait() of ours; how it ended is not known */
};
MUST_CHECK enum err os_child_spawn(struct os_loop *loop, const struct os_spawn *sp, os_exit_fn fn, void *ctx,
				   struct os_child **ret);
/** os_spawn_detached() - without a loop, nobody waits for it (double fork). Return: OK or why exec failed. */
MUST_CHECK enum err os_spawn_detached(const struct os_spawn *sp);
/**
 * os_fork_sibling() - as fork(), but the child is our parent's, who waits for it; for a process with one thread
 * @ret_pidfd: the child's, in the parent
 */
pid_t os_fork_sibling(int *ret_pidfd);
/** os_child_adopt() - watch a process that somebody else forked for us; @pidfd is given away. @orphan: see os_spawn. */
MUST_CHECK enum err os_child_adopt(struct os_loop *loop, pid_t pid, int pidfd, bool orphan, os_exit_fn fn, void *ctx,
				   struct os_child **ret);
/** os_child_end() - in place of adopting it: kill it, wait for it unless it is an orphan */
void os_child_end(pid_t pid, int pidfd, bool orphan);
void os_child_kill(struct os_child *c, int signum);
/** os_child_free() - stop caring; a running child is killed */
void os_child_free(struct os_child *c);
/** os_child_forget() - stop caring, and let it run */
void os_child_forget(struct os_child *c);
pid_t os_child_pid(const struct os_child *c);

/** os_fill_standard_descriptors() - those of 0, 1 and 2 that are closed become /dev/null, before a socket of ours becomes one */
void os_fill_standard_descriptors(void);
/** os_raise_fds() - as many descriptors as the hard limit and @want allow. Return: how many that is. */
unsigned os_raise_fds(unsigned want);
/** os_harden() - no core dumps, not traceable, no new privileges; keys stay in memory */
void os_harden(void);

struct os_sandbox {
	unsigned cpu_seconds_max; /* RLIMIT_CPU; 0 = none */
	size_t mem_bytes_max;     /* RLIMIT_AS; 0 = none */
};
/**
 * os_sandbox_worker() - from here on: read, write, poll, sendmsg and recvmsg on descriptors that are open,
 * memory, time, exit; nothing else (no file, no socket, no process). seccomp; ERR_UNSUPPORTED without it.
 */
MUST_CHECK enum err os_sandbox_worker(const struct os_sandbox *sb);

/** os_sandbox_prepare() - make the filter now, for those that are forked from here */
MUST_CHECK enum err os_sandbox_prepare(void);
/** os_set_name() - what ps and top call us; up to 15 characters */
void os_set_name(const char *name);
/** os_wait_readable() - block until @fd is; false on an error */
bool os_wait_readable(int fd);
/** os_tell_manager() - to systemd, if it started us and wants to know: "READY=1", "STOPPING=1" */
void os_tell_manager(const char *state);

/** os_thread_count() - live threads of this process */
unsigned os_thread_count(void);
/** os_machine_print() - a number that another processor, or another set of installed libraries, changes */
uint64_t os_machine_print(void);
/** os_memory_rest() - give freed memory back to the system */
void os_memory_rest(void);

#endif
