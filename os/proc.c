/*
 * os/proc.c - child processes, hardening, the worker's sandbox.
 *
 * Children are started with fork and exec rather than uv_spawn: we need exact descriptor placement and to learn
 * why exec failed, which a close-on-exec pipe tells. A child's end is noticed by its pidfd becoming readable. Where we are
 * a guest in another program's process (libnefia), children are orphans: that program's SIGCHLD and wait() stay its own.
 */
#include "os/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

extern char **environ;

struct os_child {
	pid_t pid; /* 0: over */
	int pidfd;
	bool orphan;
	struct os_watch *watch;
	os_exit_fn fn;
	void *ctx;
};

const char *os_self_path(void)
{
	static char path[PATH_MAX];
	ssize_t n;

	if (path[0])
		return path;
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	/* No /proc: as we were started, which holds while nobody changes the folder. */
	if (n <= 0 && (!getauxval(AT_EXECFN) || !realpath((const char *)getauxval(AT_EXECFN), path)))
		path[0] = '\0';
	return path;
}

/* ---- in the child, between fork and exec ---- */

#define FDS_MAX 65536 /* closed one by one */

static void close_span(unsigned first, unsigned last)
{
	struct rlimit rl;

	if (syscall(SYS_close_range, first, last, 0) == 0)
		return;
	/* A kernel before 5.9, or a seccomp profile of its time. */
	if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur > FDS_MAX)
		rl.rlim_cur = FDS_MAX;
	for (unsigned fd = first; fd <= last && fd < rl.rlim_cur; fd++)
		close((int)fd);
}

static void close_from(int first, int keep)
{
	if (keep > first)
		close_span((unsigned)first, (unsigned)keep - 1);
	close_span((unsigned)keep + 1, ~0U);
}

/* A copy of @fd, of /dev/null when there is none, beyond those that are placed; -1 with errno. */
static int copy_beyond(int fd)
{
	int null = fd >= 0 ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC), copy;

	if (fd < 0 && null < 0)
		return -1;
	copy = fcntl(fd >= 0 ? fd : null, F_DUPFD_CLOEXEC, (int)ARRAY_SIZE(((struct os_spawn *)0)->fds));
	if (null >= 0)
		close(null);
	return copy;
}

/* Moves fds[i] to i; what stands in the way is copied first. False, with errno: the program would get others than it is to get. */
static bool place_fds(const struct os_spawn *sp, int *report_fd)
{
	int copies[ARRAY_SIZE(sp->fds)], report = copy_beyond(*report_fd);

	if (report < 0)
		return false;
	*report_fd = report;
	for (size_t i = 0; i < sp->n_fds; i++) {
		copies[i] = copy_beyond(sp->fds[i]);
		if (copies[i] < 0)
			return false;
	}
	for (size_t i = 0; i < sp->n_fds; i++)
		if (dup2(copies[i], (int)i) < 0)
			return false;
	close_from((int)MAX(sp->n_fds, (size_t)3), report);
	return true;
}

NORETURN static void child_exec(const struct os_spawn *sp, int report_fd)
{
	sigset_t none;
	int errnum;

	if (sp->new_session)
		setsid();
	if (sp->ends_with_us)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	if (place_fds(sp, &report_fd))
		execve(sp->argv[0], (char *const *)sp->argv, sp->env ? (char *const *)sp->env : environ);
	errnum = errno;
	if (write(report_fd, &errnum, sizeof(errnum)) < 0)
		_exit(126);
	_exit(127);
}

/* A few bytes at once, whatever signals come: where we are a guest their handlers may interrupt a read. Return: all of them? */
static bool read_whole(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len;
}

static pid_t wait_for(pid_t pid, int *ret_status, int flags)
{
	pid_t got;

	do
		got = waitpid(pid, ret_status, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

/*
 * fork() without SIGCHLD at the end of a child that does not exec, unseen by a wait() for any child, and without the handlers
 * of pthread_atfork(): all of these are somebody else's where we are a guest. The child may make system calls, no more.
 */
static pid_t fork_silently(void)
{
	return (pid_t)syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
}

/* The one between us and an orphan: stays until the orphan's pidfd is open, so that the number cannot be another's by then. */
NORETURN static void be_between(const struct os_spawn *sp, int link, int report_fd)
{
	pid_t pid = fork_silently();
	char byte;

	if (pid == 0)
		child_exec(sp, report_fd);
	if (write(link, &pid, sizeof(pid)) == sizeof(pid) && read(link, &byte, 1) < 0)
		_exit(1);
	_exit(0);
}

/* A child of init's, so that its end is no SIGCHLD of ours. */
static pid_t spawn_orphan(const struct os_spawn *sp, int report_fd, int *ret_pidfd)
{
	int link[2], errnum = EAGAIN;
	pid_t between, pid = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) != 0)
		return -1;
	between = fork_silently();
	if (between == 0) {
		close(link[0]);
		be_between(sp, link[1], report_fd);
	}
	close(link[1]);
	if (between > 0 && !read_whole(link[0], &pid, sizeof(pid)))
		pid = -1;
	if (pid > 0)
		*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* Nobody could ever end it. */
	if (pid > 0 && *ret_pidfd < 0) {
		errnum = errno;
		kill(pid, SIGKILL);
		pid = -1;
	}
	close(link[0]);
	if (between > 0)
		wait_for(between, NULL, __WALL);
	errno = errnum;
	return pid;
}

/* Of the one process; its descriptor, or -1. Twice forked, it is left to init. */
static pid_t spawn_child(const struct os_spawn *sp, bool twice, int report_fd, int *ret_pidfd)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (twice && fork() != 0)
			_exit(0);
		child_exec(sp, report_fd);
	}
	if (pid > 0 && twice)
		wait_for(pid, NULL, 0);
	else if (pid > 0)
		*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

/* Return: 0, or the errno of fork or exec. */
static int spawn(const struct os_spawn *sp, bool twice, pid_t *ret, int *ret_pidfd)
{
	int report[2], errnum = 0;
	pid_t pid;

	ASSERT(sp->n_fds <= ARRAY_SIZE(sp->fds));
	if (pipe2(report, O_CLOEXEC) != 0)
		return errno;
	pid = sp->orphan ? spawn_orphan(sp, report[1], ret_pidfd) : spawn_child(sp, twice, report[1], ret_pidfd);
	if (pid < 0)
		errnum = errno ? errno : EAGAIN;
	close(report[1]);
	if (pid > 0 && !read_whole(report[0], &errnum, sizeof(errnum)))
		errnum = 0;
	close(report[0]);
	if (errnum != 0 && pid > 0 && !twice && !sp->orphan)
		wait_for(pid, NULL, 0);
	*ret = pid;
	return errnum;
}

enum err os_spawn_detached(const struct os_spawn *sp)
{
	pid_t pid;
	int pidfd;

	return err_from_errno(spawn(sp, true, &pid, &pidfd));
}

/* ---- children that the loop watches ---- */

static void on_child_end(void *ctx, int events)
{
	struct os_child *c = ctx;
	int status = 0;
	pid_t got = c->orphan ? -1 : wait_for(c->pid, &status, WNOHANG);

	if (got == 0)
		return;
	os_watch_set(c->watch, 0);
	c->pid = 0;
	/* An orphan, or somebody else in this process waited for it. */
	if (got < 0)
		c->fn(c->ctx, -1, 0);
	else
		c->fn(c->ctx, WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

void os_child_end(pid_t pid, int pidfd, bool orphan)
{
	if (pidfd >= 0) {
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		close(pidfd);
	} else if (!orphan) {
		kill(pid, SIGKILL); /* its number is its own until we have waited */
	}
	if (!orphan)
		wait_for(pid, NULL, 0);
}

enum err os_child_adopt(struct os_loop *loop, pid_t pid, int pidfd, bool orphan, os_exit_fn fn, void *ctx,
			struct os_child **ret)
{
	struct os_child *c = pidfd >= 0 ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		os_child_end(pid, pidfd, orphan);
		return pidfd >= 0 ? ERR_NOMEM : ERR_UNSUPPORTED;
	}
	*c = (struct os_child){ .pid = pid, .pidfd = pidfd, .orphan = orphan, .fn = fn, .ctx = ctx };
	if (os_watch_new(loop, c->pidfd, on_child_end, c, &c->watch) != OK) {
		os_child_free(c);
		return ERR_UNSUPPORTED;
	}
	fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
	os_watch_set(c->watch, OS_READ);
	*ret = c;
	return OK;
}

enum err os_child_spawn(struct os_loop *loop, const struct os_spawn *sp, os_exit_fn fn, void *ctx,
			struct os_child **ret)
{
	int pidfd = -1, errnum;
	pid_t pid;

	errnum = spawn(sp, false, &pid, &pidfd);
	if (errnum != 0) {
		if (pidfd >= 0)
			close(pidfd);
		return err_from_errno(errnum);
	}
	return os_child_adopt(loop, pid, pidfd, sp->orphan, fn, ctx, ret);
}

pid_t os_fork_sibling(int *ret_pidfd)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | SIGCHLD, 0, ret_pidfd, 0, 0);

	/* What fork() would have had done. */
	if (pid == 0)
		os_rng_forget();
	return pid;
}

void os_child_kill(struct os_child *c, int signum)
{
	/* Not by number: whoever else waits for children here may have given it free. */
	if (c->pid > 0)
		syscall(SYS_pidfd_send_signal, c->pidfd, signum, NULL, 0);
}

void os_child_free(struct os_child *c)
{
	if (!c)
		return;
	os_child_kill(c, SIGKILL);
	if (c->pid > 0 && !c->orphan)
		wait_for(c->pid, NULL, 0);
	os_watch_free(c->watch);
	close(c->pidfd);
	free(c);
}

void os_child_forget(struct os_child *c)
{
	if (!c)
		return;
	c->pid = 0;
	os_child_free(c);
}

pid_t os_child_pid(const struct os_child *c)
{
	return c->pid;
}

/* ---- hardening ---- */

void os_fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(1);
}

unsigned os_raise_fds(unsigned want)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return want;
	if (r.rlim_cur < want && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = MIN(r.rlim_max, (rlim_t)want);
		/* Refused: what we have stays. */
		if (setrlimit(RLIMIT_NOFILE, &r) != 0)
			getrlimit(RLIMIT_NOFILE, &r);
	}
	return (unsigned)MIN(r.rlim_cur, (rlim_t)want);
}

void os_harden(void)
{
	struct rlimit none = { 0, 0 };

	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
	signal(SIGPIPE, SIG_IGN);
	/* A file size limit is then an error of write(), as a full disk is. */
	signal(SIGXFSZ, SIG_IGN);
}

static const int worker_calls[] = {
	SCMP_SYS(read),		 SCMP_SYS(write),	   SCMP_SYS(readv),	   SCMP_SYS(writev),
	SCMP_SYS(recvmsg),	 SCMP_SYS(sendmsg),	   SCMP_SYS(recvfrom),	   SCMP_SYS(sendto),
	SCMP_SYS(poll),		 SCMP_SYS(ppoll),	   SCMP_SYS(shutdown),	   SCMP_SYS(close),
	SCMP_SYS(brk),		 SCMP_SYS(munmap),	   SCMP_SYS(mremap),	   SCMP_SYS(madvise),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),   SCMP_SYS(gettimeofday),
	SCMP_SYS(getrandom),	 SCMP_SYS(futex),	   SCMP_SYS(exit),	   SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigreturn),	 SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(restart_syscall),
	SCMP_SYS(getpid),	 SCMP_SYS(gettid),	   SCMP_SYS(tgkill),	   SCMP_SYS(setitimer),
};

/* Unused in a sanitizer build, see load_filter(). */
__attribute__((unused)) static int allow_calls(scmp_filter_ctx ctx)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(worker_calls) && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, worker_calls[i], 0);
	/* Memory, but never executable. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				     SCMP_A1(SCMP_CMP_EQ, F_GETFL));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				     SCMP_A1(SCMP_CMP_EQ, F_SETFL));
	return r;
}

#define FILTER_MAX 512 /* instructions */

/* The filter as the kernel takes it; made once, so that what is forked from here neither needs the library nor its memory. */
static struct sock_filter filter[FILTER_MAX];
static struct sock_fprog program = { .filter = filter };

__attribute__((unused)) static enum err make_filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int fds[2] = { -1, -1 };
	ssize_t n = -1;

	/* A page of a pipe holds all of it, and a pipe is refused nowhere. */
	_Static_assert(sizeof(filter) <= 4096, "more than a pipe is sure to hold");
	if (ctx && pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0 && allow_calls(ctx) == 0 && seccomp_export_bpf(ctx, fds[1]) == 0)
		n = read(fds[0], filter, sizeof(filter));
	if (ctx)
		seccomp_release(ctx);
	if (fds[0] >= 0) {
		close(fds[0]);
		close(fds[1]);
	}
	if (n <= 0 || (size_t)n == sizeof(filter))
		return ERR_UNSUPPORTED;
	program.len = (unsigned short)((size_t)n / sizeof(filter[0]));
	return OK;
}

enum err os_sandbox_prepare(void)
{
#ifdef SANITIZED
	/* The sanitizers' runtime opens /proc and prints stacks: the filter is tested in the plain build. */
	return OK;
#else
	return program.len > 0 ? OK : make_filter();
#endif
}

static enum err load_filter(void)
{
	if (program.len > 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return ERR_UNSUPPORTED;
	return OK;
}

void os_set_name(const char *name)
{
	prctl(PR_SET_NAME, name);
}

bool os_wait_readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	int r;

	do
		r = poll(&p, 1, -1);
	while (r < 0 && errno == EINTR);
	return r > 0;
}

enum err os_sandbox_worker(const struct os_sandbox *sb)
{
	/* The soft limit ends it with SIGXCPU, which says why; where both are equal the kernel only kills. */
	struct rlimit cpu = { sb->cpu_seconds_max, sb->cpu_seconds_max + 1 };
	struct rlimit mem = { sb->mem_bytes_max, sb->mem_bytes_max };
	struct rlimit none = { 0, 0 };
	enum err e = os_sandbox_prepare(); /* it writes a file of memory, which the limits forbid */

	if (e != OK)
		return e;
	os_harden();
	if (sb->cpu_seconds_max)
		setrlimit(RLIMIT_CPU, &cpu);
#ifndef SANITIZED
	/* The sanitizers reserve terabytes and write their reports. */
	if (sb->mem_bytes_max)
		setrlimit(RLIMIT_AS, &mem);
	setrlimit(RLIMIT_FSIZE, &none);
#else
	(void)mem;
#endif
	setrlimit(RLIMIT_NPROC, &none);
	return load_filter();
}

/* ---- what the process tells of itself ---- */

void os_tell_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0'; /* an abstract name */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* A manager that does not listen is no reason to stop; it will say itself that it waited in vain. */
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		errno = 0;
	close(fd);
}

unsigned os_thread_count(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	if (!dir)
		return 0;
	for (struct dirent *d; (d = readdir(dir));)
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* ---- the machine ---- */

static uint64_t mix(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 1099511628211ULL;
	return h;
}

static uint64_t mix_processor(uint64_t h)
{
	struct utsname u;
#if defined(__x86_64__) || defined(__i386__)
	static const unsigned leaves[] = { 1, 7, 0x80000002, 0x80000003, 0x80000004 };

	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		unsigned r[4] = { 0 };

		__get_cpuid_count(leaves[i], 0, &r[0], &r[1], &r[2], &r[3]);
		/* Leaf 1 tells in EBX on which core it ran. */
		if (leaves[i] == 1)
			r[1] = 0;
		h = mix(h, r, sizeof(r));
	}
#else
	unsigned long caps[2] = { getauxval(AT_HWCAP), getauxval(AT_HWCAP2) };

	h = mix(h, caps, sizeof(caps));
#endif
	return uname(&u) == 0 ? mix(h, u.machine, strlen(u.machine)) : h;
}

uint64_t os_machine_print(void)
{
	uint64_t h = mix_processor(14695981039346656037ULL);
	struct stat st;

	/* Rewritten whenever a library is installed. */
	if (stat("/etc/ld.so.cache", &st) == 0)
		h = mix(h, &st.st_mtim, sizeof(st.st_mtim));
	return h;
}

void os_memory_rest(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
