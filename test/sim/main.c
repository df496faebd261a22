/*
 * test/sim/main.c - many runs, each in a process of its own (lwIP keeps state that has no end), and the report.
 *
 * One seed in ten, and each that is named, runs twice: both must send the same datagrams at the same times.
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

#define N_SEEDS 3000
#define N_PLANT_SEEDS 400
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

/* Written by the runs, read by their parent. */
struct shared {
	uint64_t hash;
	enum rule broken;
	bool quiet; /* a run that is meant to fail says nothing */
	uint64_t n[N_COVER], n_seeds[N_COVER];
	uint64_t n_runs, virtual_s;
};

static struct shared *shared;
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

static int report(void)
{
	int bad = 0;

	printf("%llu seeds, %.1f days of virtual time\n", (unsigned long long)shared->n_runs, (double)shared->virtual_s / 86400);
	printf("%10s %6s\n", "times", "seeds");
	for (int i = 0; i < N_COVER; i++) {
		bool missing = covers[i].must && shared->n_runs >= N_MUST && shared->n[i] == 0;

		printf("%10llu %6llu  %s%s\n", (unsigned long long)shared->n[i], (unsigned long long)shared->n_seeds[i],
		       covers[i].text, missing ? "  NEVER HAPPENED" : "");
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
static int self_test(void)
{
	int bad = 0;

	shared->quiet = true;
	for (int r = RULE_NONE + 1; r < N_RULES; r++) {
		uint64_t seed;
		enum rule found = plant_and_see((enum rule)r, &seed);

		printf("%-6s %-22s seed %llu%s%s\n", found == (enum rule)r ? "found" : "MISSED", rule_names[r],
		       (unsigned long long)seed, found == (enum rule)r ? "" : ": ", found == (enum rule)r ? "" : rule_names[found]);
		bad |= found != (enum rule)r;
	}
	return bad;
}

static int run_range(uint64_t first, uint64_t n, nsec_t seconds, bool keep_going)
{
	time_t end = time(NULL) + (time_t)seconds;
	int bad = 0;

	for (uint64_t seed = first; seconds ? time(NULL) < end : seed < first + n; seed++) {
		if (run_seed(seed, false, seed % 10 == 0))
			continue;
		if (!keep_going)
			return 1;
		bad = 1;
	}
	return report() | bad;
}

static int usage(void)
{
	fputs("usage: sim [--seed N [--trace]] [--seeds N] [--first N] [--minutes N] [--keep-going] [--self-test]\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },  { "seeds", required_argument, NULL, 'n' },
		{ "first", required_argument, NULL, 'f' }, { "minutes", required_argument, NULL, 'm' },
		{ "trace", no_argument, NULL, 't' },	   { "self-test", no_argument, NULL, 'p' },
		{ "keep-going", no_argument, NULL, 'k' },  { 0 },
	};
	uint64_t first = 1, n = N_SEEDS, seconds = 0, one = 0;
	bool trace = false, plants = false, keep_going = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (opt) {
		case 's': one = value; break;
		case 'n': n = value; break;
		case 'f': first = value; break;
		case 'm': seconds = value * 60; break;
		case 't': trace = true; break;
		case 'p': plants = true; break;
		case 'k': keep_going = true; break;
		default: return usage();
		}
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(shared != MAP_FAILED);
	signal(SIGABRT, on_signal);
	signal(SIGSEGV, on_signal);
	log_set(LOG_INFO, on_log);
	/* The first run is nobody's: what is allocated once for all is there after it. */
	sim_run(&sim, 0, RULE_NONE, false);
	if (plants)
		return self_test();
	if (one)
		return run_seed(one, trace, true) ? report() : 1;
	return run_range(first, n, seconds, keep_going);
}
