/* What GRO joined, cut apart: every byte once, in order, whatever size of segment the kernel is said to have told. */
#include "base/endian.h"
#include "os/udp_internal.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct path_addr path;
	struct os_udp_dgram d[64];
	size_t seg, max, n, at = 0;

	if (size < 4)
		return 0;
	seg = get_le16(data);
	max = data[2] % (ARRAY_SIZE(d) + 1);
	data += 4;
	size -= 4;
	n = os_udp_split(data, size, seg, &path, d, max);
	ASSERT(n <= max);
	for (size_t i = 0; i < n; i++, at += d[i - 1].len) {
		ASSERT(d[i].p == data + at && d[i].len <= size - at);
		ASSERT(i == n - 1 || d[i].len == seg);
	}
	ASSERT(n == max || at == size);
	return 0;
}
