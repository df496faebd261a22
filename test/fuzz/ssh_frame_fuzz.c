/*
 * Frames and strings of ssh/: a stream of frames gives the same ones however it is cut, a reader never leaves its bytes, and
 * what a worker asks of the hub is understood or refused.
 */
#include "ssh/frame.h"
#include "test/fuzz/fuzz.h"

#define N_FRAMES 64

struct seen {
	size_t n;
	struct { uint8_t type; size_t len; uint32_t sum; } f[N_FRAMES];
	enum err end;
};

static void feed(const uint8_t *data, size_t size, size_t step, struct seen *s)
{
	struct ssh_buf b = { 0 };
	struct bytes body;
	uint8_t type;
	size_t total;

	*s = (struct seen){ .end = ERR_AGAIN };
	for (size_t off = 0; off < size && s->end == ERR_AGAIN; off += step) {
		if (ssh_buf_add(&b, data + off, MIN(step, size - off)) != OK)
			abort();
		while ((s->end = ssh_frame_next(&b, &type, &body, &total)) == OK) {
			uint32_t sum = 0;

			ASSERT(total <= ssh_buf_used(&b) && body.len == total - 5 && total <= SSH_FRAME_MAX + 4);
			for (size_t i = 0; i < body.len; i++)
				sum = sum * 31 + body.p[i];
			if (s->n < N_FRAMES) {
				s->f[s->n].type = type;
				s->f[s->n].len = body.len;
				s->f[s->n++].sum = sum;
			}
			ssh_buf_drop(&b, total);
		}
	}
	ssh_buf_fini(&b);
}

static void read_all(const uint8_t *data, size_t size)
{
	struct ssh_reader r = { data, size, false };
	struct ssh_question q;
	char text[24];

	while (!r.bad && r.len > 0) {
		size_t before = r.len;
		struct bytes s;

		switch (r.p[0] % 3) {
		case 0:
			(void)ssh_read_u32(&r);
			break;
		case 1:
			s = ssh_read_string(&r);
			ASSERT(s.len == 0 || (s.p >= data && s.p + s.len <= data + size));
			break;
		case 2:
			ssh_read_text(&r, text, sizeof(text));
			ASSERT(memchr(text, 0, sizeof(text)));
			break;
		}
		ASSERT(r.bad || r.len < before);
	}
	if (ssh_question_decode((struct bytes){ data, size }, &q) == OK) {
		ASSERT(q.kind == SSH_C_DIAL || q.kind == SSH_C_HOST_KEY || q.kind == SSH_C_IDLE || q.kind == SSH_C_AGENT ||
		       q.kind == SSH_C_SECRET || q.kind == SSH_C_OUTCOME || q.kind == SSH_C_COUNTS || q.kind == SSH_C_TAKEN);
		ASSERT(q.outcome < ERR_N);
		ASSERT(!strpbrk(q.type, " \t\r\n") && q.blob.len <= SSH_BLOB_MAX);
		ASSERT(q.blob.len == 0 || (q.blob.p >= data && q.blob.p + q.blob.len <= data + size));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole, bytes, cut;

	if (size == 0)
		return 0;
	feed(data, size, size, &whole);
	feed(data, size, 1, &bytes);
	feed(data, size, size / 3 + 1, &cut);
	ASSERT(memcmp(&whole, &bytes, sizeof(whole)) == 0 && memcmp(&whole, &cut, sizeof(whole)) == 0);
	read_all(data, size);
	return 0;
}
