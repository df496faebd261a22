/* Where the peers of the configuration are looked for. */
#include "os/file.h"
#include "test/lib/testing.h"
#include "tunnel/tunnel.h"

#define STEP (6 * NSEC_PER_SEC)

static const struct wg_private_key ours = { { [0 ... KEY_LEN - 1] = 17 } }, theirs = { { [0 ... KEY_LEN - 1] = 9 } };

/* An initiation by the peer, as somebody on the way may have recorded it. */
static size_t record_initiation(struct pktpool *pool, uint8_t *buf, size_t size)
{
	struct wg_config cfg = { .pool = pool, .rng = os_rng() };
	struct wg_device *dev = wg_device_new(&cfg, os_now(), os_wall_now());
	struct endpoint anywhere = { ip_addr_v4(127, 0, 0, 1), 9, 0 };
	struct wg_public_key key;
	struct wg_tx tx;
	wg_peer_id id;
	size_t len;

	assert_non_null(dev);
	wg_device_set_private(dev, &theirs, os_now());
	wg_public_from_private(&ours, &key);
	assert_int_equal(wg_peer_add(dev, &key, os_now(), &id), OK);
	wg_peer_set_endpoint(dev, id, &anywhere, os_now());
	wg_peer_connect(dev, id, os_now());
	assert_true(wg_device_next_tx(dev, os_now(), &tx));
	assert_true(tx.len <= size);
	memcpy(buf, tx.p, tx.len);
	len = tx.len;
	wg_device_free(dev);
	return len;
}

/* A node that restarted without its memory takes a recorded initiation, and calls the peer where that came from. */
static void a_replay_steals_an_endpoint_for_a_while(void **state)
{
	struct tunnel_config cfg = { .private_key = ours, .n_addrs = 1, .initiate = true };
	struct path_addr thief = { .remote = { ip_addr_v4(127, 0, 0, 66), 9, 0 } };
	struct tunnel_peer peer = { .endpoint = { ip_addr_v4(127, 0, 0, 1), 9, 0 }, .n_allowed = 1 };
	struct os_loop *loop = os_loop_new();
	struct pktpool *pool = pktpool_new(64);
	struct wg_peer_info info;
	struct tunnel *t;
	uint8_t buf[256];
	struct wg_datagram d = { buf, record_initiation(pool, buf, sizeof(buf)), &thief };
	nsec_t now = os_now();
	wg_peer_id id;

	assert_int_equal(ip_prefix_parse("10.99.0.2/24", &cfg.addrs[0]), OK);
	assert_int_equal(ip_prefix_parse("10.99.0.1/32", &peer.allowed[0]), OK);
	wg_public_from_private(&theirs, &peer.key);
	assert_int_equal(tunnel_open(loop, &cfg, &t), OK);
	assert_int_equal(tunnel_add_peer(t, &peer), OK);
	id = wg_peer_find(tunnel_device(t), &peer.key);
	wg_device_input(tunnel_device(t), now, &d, 1);
	assert_true(wg_peer_get_info(tunnel_device(t), id, now, &info));
	assert_true(endpoint_equal(&info.endpoint, &thief.remote));
	/* Handshakes go to the thief, who cannot answer them. */
	for (int i = 0; i < 20; i++)
		wg_device_expire(tunnel_device(t), now += STEP);
	tunnel_kick(t);
	os_loop_stop(loop);
	os_loop_run(loop);
	assert_true(wg_peer_get_info(tunnel_device(t), id, now, &info));
	assert_true(endpoint_equal(&info.endpoint, &peer.endpoint));
	tunnel_close(t);
	pktpool_free(pool);
	os_loop_free(loop);
}

/* Who is taken out of the configuration leaves the state file too, which has a limit. */
static void a_removed_peer_is_not_remembered(void **state)
{
	char dir[TEST_FOLDER_MAX], path[TEST_FOLDER_MAX + 8], key[KEY_STR_MAX], *text;
	struct tunnel_config cfg = { .private_key = ours, .n_addrs = 1, .state_file = path };
	struct tunnel_peer peer = { .endpoint = { ip_addr_v4(127, 0, 0, 1), 9, 0 }, .n_allowed = 1 };
	struct os_loop *loop = os_loop_new();
	struct tunnel *t;
	size_t len;

	test_folder_make(dir, "peers");
	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(ip_prefix_parse("10.99.0.2/24", &cfg.addrs[0]), OK);
	assert_int_equal(ip_prefix_parse("10.99.0.1/32", &peer.allowed[0]), OK);
	for (int i = 0; i < 2; i++) {
		memset(peer.key.b, 0x40 + i, KEY_LEN);
		assert_int_equal(tunnel_open(loop, &cfg, &t), OK);
		assert_int_equal(tunnel_set_peers(t, &peer, 1), OK);
		tunnel_close(t);
		assert_int_equal(os_file_read(path, 65536, &text, &len), OK);
		assert_non_null(strstr(text, key_to_base64(peer.key.b, key)));
		memset(peer.key.b, 0x40, KEY_LEN);
		assert_true((strstr(text, key_to_base64(peer.key.b, key)) != NULL) == (i == 0));
		free(text);
	}
	os_loop_free(loop);
	test_folder_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_replay_steals_an_endpoint_for_a_while),
		cmocka_unit_test(a_removed_peer_is_not_remembered),
	};

	return RUN_TESTS(tests);
}
