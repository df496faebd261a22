/*
 * test/sim/main.c - many runs, each in a process of its own (lwIP keeps state that has no end), and the report.
 *
 * One seed in ten, and each that is named, runs twice: both must send the same datagrams at the same times. Workers, one a
 * core, share the seeds out among them; what a run tells goes through memory that they share with their parent.
 */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "test/sim/sim.h"

#ifdef __SANITIZE_ADDRESS__
#define N_SEEDS 600
#else
#define N_SEEDS 3000
#endif
#define N_LEAST 1000    /* of them, however slow the machine is; the others only while there is time */
#define PATIENCE_S 75
#define N_PLANT_SEEDS 400
#define N_WORKERS_MAX 16
#define N_MUST 1000 /* from so many seeds on, what the report lists must have happened */

static const char *const rule_names[N_RULES] = {
	[RULE_NONE] = "none",
#define RULE_NAME(name, text) [name] = #name,
	RULE_LIST(RULE_NAME)
};

static const char *const rule_texts[N_RULES] = {
#define RULE_TEXT(name, text) [name] = text,
	RULE_LIST(RULE_TEXT)
};

static const struct {
	const char *text;
	bool must;
} covers[N_COVER] = {
#define COVER_ITEM(name, text, must) [name] = { text, must },
	COVER_LIST(COVER_ITEM)
};

/* Written by the runs of one worker, read by their parents. */
struct shared {
	uint64_t hash;
	enum rule broken;
	bool quiet; /* a run that is meant to fail says nothing */
	uint64_t n[N_COVER], n_seeds[N_COVER];
	uint64_t n_runs, virtual_s;
};

static struct shared *all, *shared; /* of all workers, of this one */
static char replay_line[128];

/* ---- what sim.h promises ---- */

/* The line that replays the run, also when an ASSERT ends it. */
static void on_signal(int sig)
{
	if (!shared->quiet && write(STDERR_FILENO, replay_line, strlen(replay_line)) < 0)
		_exit(2);
	signal(sig, SIG_DFL);
	raise(sig);
}

NORETURN void sim_broken(const struct sim *s, enum rule r, const char *detail)
{
	shared->broken = r;
	if (!shared->quiet)
		fprintf(stderr, "sim: seed %llu at %.6f s: %s: %s%s%s\n%s", (unsigned long long)s->seed,
			(double)(s->now - START) / NSEC_PER_SEC, rule_names[r], rule_texts[r], *detail ? ": " : "", detail,
			replay_line);
	fflush(stdout);
	_exit(1);
}

void sim_hash(struct sim *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		s->trace_hash = (s->trace_hash ^ p[i]) * 0x100000001b3ULL;
}

void sim_trace(const struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (LIKELY(!s->trace))
		return;
	printf("%12.6f ", (double)(s->now - START) / NSEC_PER_SEC);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void on_log(enum log_level level, const char *line)
{
	sim_trace(&sim, "log: %s", line);
}

/* ---- runs ---- */

static void count(const struct sim *s)
{
	for (int i = 0; i < N_COVER; i++) {
		shared->n[i] += s->cover[i];
		shared->n_seeds[i] += s->cover[i] > 0;
	}
	shared->n_runs++;
	shared->virtual_s += (s->now - START) / NSEC_PER_SEC;
}

/* Return: did it end well? */
static bool run_alone(uint64_t seed, enum rule plant, bool trace, bool counts)
{
	int status;
	pid_t pid;

	snprintf(replay_line, sizeof(replay_line), "replay: make sim SEED=%llu\n", (unsigned long long)seed);
	shared->broken = RULE_NONE;
	fflush(stdout);
	pid = fork();
	ASSERT(pid >= 0);
	if (pid == 0) {
		sim_run(&sim, seed, plant, trace);
		shared->hash = sim.trace_hash;
		sim_trace(&sim, "hash %016llx", (unsigned long long)sim.trace_hash);
		if (counts)
			count(&sim);
		fflush(stdout);
		_exit(0);
	}
	ASSERT(waitpid(pid, &status, 0) == pid);
	return status == 0;
}

static bool run_twice(uint64_t seed, enum rule plant)
{
	uint64_t first = shared->hash;

	if (!run_alone(seed, plant, false, false))
		return false;
	if (shared->hash == first)
		return true;
	shared->broken = RULE_DETERMINISM;
	if (!shared->quiet)
		fprintf(stderr, "sim: seed %llu: %s\n%s", (unsigned long long)seed, rule_texts[RULE_DETERMINISM], replay_line);
	return false;
}

static bool run_seed(uint64_t seed, bool trace, bool twice)
{
	return run_alone(seed, RULE_NONE, trace, true) && (!twice || run_twice(seed, RULE_NONE));
}

/* ---- reports ---- */

static void sum_up(struct shared *to, size_t n)
{
	for (size_t w = 0; w < n; w++) {
		for (int i = 0; i < N_COVER; i++) {
			to->n[i] += all[w].n[i];
			to->n_seeds[i] += all[w].n_seeds[i];
		}
		to->n_runs += all[w].n_runs;
		to->virtual_s += all[w].virtual_s;
	}
}

static int report(size_t n_workers)
{
	struct shared t = { 0 };
	int bad = 0;

	sum_up(&t, n_workers);
	printf("%llu seeds, %.1f days of virtual time\n", (unsigned long long)t.n_runs, (double)t.virtual_s / 86400);
	printf("%10s %6s\n", "times", "seeds");
	for (int i = 0; i < N_COVER; i++) {
		bool missing = covers[i].must && t.n_runs >= N_MUST && t.n[i] == 0;

		printf("%10llu %6llu  %s%s\n", (unsigned long long)t.n[i], (unsigned long long)t.n_seeds[i], covers[i].text,
		       missing ? "  NEVER HAPPENED" : "");
		bad |= missing;
	}
	return bad;
}

/* Which rule breaks first when @plant is put in? */
static enum rule plant_and_see(enum rule plant, uint64_t *ret_seed)
{
	for (uint64_t seed = 1; seed <= N_PLANT_SEEDS; seed++) {
		*ret_seed = seed;
		if (!run_alone(seed, plant, false, false) || !run_twice(seed, plant))
			return shared->broken;
	}
	return RULE_NONE;
}

/* Each rule finds the defect that was made for it. */
static int self_test(bool verbose)
{
	int n_found = 0;

	shared->quiet = true;
	for (int r = RULE_NONE + 1; r < N_RULES; r++) {
		uint64_t seed;
		enum rule found = plant_and_see((enum rule)r, &seed);

		n_found += found == (enum rule)r;
		if (found != (enum rule)r)
			printf("MISSED %s at seed %llu: %s\n", rule_names[r], (unsigned long long)seed, rule_names[found]);
		else if (verbose)
			printf("found  %s at seed %llu\n", rule_names[r], (unsigned long long)seed);
	}
	shared->quiet = false;
	printf("%d of %d rules found the defect that was planted for them\n", n_found, N_RULES - 1);
	return n_found < N_RULES - 1;
}

struct plan {
	uint64_t first, n;
	time_t end;     /* instead of n; 0: none */
	time_t no_more; /* seeds beyond N_LEAST after that; 0: all */
	bool keep_going;
};

/* Every @step-th seed from @at on. Return: exit status */
static int work(const struct plan *p, uint64_t at, uint64_t step)
{
	int bad = 0;

	for (uint64_t seed = p->first + at; p->end ? time(NULL) < p->end : seed < p->first + p->n; seed += step) {
		if (p->no_more && seed >= p->first + N_LEAST && time(NULL) > p->no_more)
			break;
		if (run_seed(seed, false, seed % 10 == 0))
			continue;
		if (!p->keep_going)
			return 1;
		bad = 1;
	}
	return bad;
}

static int run_all(const struct plan *p, size_t n_workers)
{
	pid_t pids[N_WORKERS_MAX];
	int status, bad = 0;

	fflush(stdout);
	for (size_t w = 0; w < n_workers; w++) {
		pids[w] = fork();
		ASSERT(pids[w] >= 0);
		if (pids[w] == 0) {
			shared = &all[w];
			_exit(work(p, w, n_workers));
		}
	}
	for (size_t w = 0; w < n_workers; w++) {
		ASSERT(waitpid(-1, &status, 0) > 0);
		if (status == 0 || bad)
			continue;
		bad = 1;
		for (size_t k = 0; k < n_workers && !p->keep_going; k++)
			kill(pids[k], SIGTERM);
	}
	return bad || report(n_workers);
}

static int usage(void)
{
	fputs("usage: sim                               prove the rules, then run seeds 1 to 3000\n"
	      "       sim --seed N [--trace]            one run\n"
	      "       sim [--first N] [--seeds N | --minutes N] [--keep-going] [--workers N]\n"
	      "       sim --self-test                   prove each rule by a planted defect\n",
	      stderr);
	return 2;
}

static size_t n_cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : MIN((size_t)n, (size_t)N_WORKERS_MAX);
}

static void prepare(void)
{
	all = mmap(NULL, N_WORKERS_MAX * sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(all != MAP_FAILED);
	shared = all;
	signal(SIGABRT, on_signal);
	signal(SIGSEGV, on_signal);
	log_set(LOG_INFO, on_log);
	/* The first run is nobody's: what is allocated once for all is there after it. */
	sim_run(&sim, 0, RULE_NONE, false);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },  { "seeds", required_argument, NULL, 'n' },
		{ "first", required_argument, NULL, 'f' }, { "minutes", required_argument, NULL, 'm' },
		{ "trace", no_argument, NULL, 't' },	   { "workers", required_argument, NULL, 'w' },
		{ "keep-going", no_argument, NULL, 'k' },  { "self-test", no_argument, NULL, 'p' },
		{ 0 },
	};
	struct plan plan = { .first = 1, .n = N_SEEDS };
	size_t n_workers = n_cores();
	uint64_t one = 0;
	bool trace = false, plants = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (opt) {
		case 's': one = value; break;
		case 'n': plan.n = value; break;
		case 'f': plan.first = value; break;
		case 'm': plan.end = time(NULL) + (time_t)value * 60; break;
		case 'w': n_workers = MAX(1u, MIN(value, (uint64_t)N_WORKERS_MAX)); break;
		case 'k': plan.keep_going = true; break;
		case 't': trace = true; break;
		case 'p': plants = true; break;
		default: return usage();
		}
	}
	prepare();
	if (plants)
		return self_test(true);
	if (one)
		return !run_seed(one, trace, true) || report(1);
	if (argc == 1)
		plan.no_more = time(NULL) + PATIENCE_S;
	return (argc == 1 && self_test(false)) || run_all(&plan, n_workers);
}
