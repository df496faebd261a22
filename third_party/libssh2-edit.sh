#!/usr/bin/env bash
# libssh2-edit.sh DIR - our changes to libssh2's sources at build time. Each fails when its place is not found.
set -euo pipefail
cd "$1/src"

# edit FILE COUNT PERL-EXPRESSION: the substitution must happen exactly COUNT times
edit() {
	perl -0pi -e "my \$n = 0; $3; if (\$n != $2) { print STDERR \"libssh2-edit: $1: \$n places instead of $2\\n\"; exit 1 }" "$1"
}

# A channel that closes without an exit status said 0, success: it says -1.
edit channel.c 1 \
	'$n += s{(        memcpy\(session->open_channel->channel_type, channel_type,\n\s*channel_type_len\);\n)}{$1        session->open_channel->exit_status = -1;\n}'

# Encrypt-then-MAC: the length of a packet was looked at before it was read, so that a length near 2^32 passed, its sum wrapped, and
# the MAC was computed over memory that was not the packet's (a crash). The test: SERVER_CRYPTED_HUGE in worker_test.
edit transport.c 1 \
	'$n += s{(/\* etm size field is not encrypted \*/\n\s*memcpy\(block, &p->buf\[p->readidx\], 4\);\n)}{$1                p->packet_length = _libssh2_ntohu32(block);\n}'
# A packet given up left its pointer behind, and the end of the session freed it again.
edit transport.c 4 \
	'$n += s{(LIBSSH2_FREE\(session, p->payload\);\n)(\s*return )}{$1            p->payload = NULL;\n            p->total_num = 0;\n$2}g'
edit transport.c 1 \
	'$n += s{(LIBSSH2_FREE\(session, p->payload\);\n)(\s*if\(rc\)\n)}{$1            p->payload = NULL;\n$2}'

# Packets were enciphered block by block, sixteen bytes a call, through a copy: one call for what is there, in place. (AES-GCM and
# AES-CTR, which are all that we offer; OpenSSL does both in place.)
edit openssl.c 1 \
	'$n += s{    unsigned char buf\[EVP_MAX_BLOCK_LENGTH\];\n(    int ret = 1;\n    int rc = 1;\n)}{$1}'
edit openssl.c 1 \
	'$n += s{if\(blocksize > sizeof\(buf\) \|\|\n\s*(blocksize < \(size_t\)\(aadlen)}{if($1}'
edit openssl.c 1 \
	'$n += s{EVP_Cipher\(\*ctx, buf \+ aadlen, block \+ aadlen, cryptlen\)}{EVP_Cipher(*ctx, block + aadlen, block + aadlen, cryptlen)}'
edit openssl.c 1 \
	'$n += s{        memcpy\(block \+ aadlen, buf \+ aadlen, cryptlen\);\n}{}'
edit transport.c 1 \
	'$n += s{            for\(i = etm_crypt_offset; i < packet_length;\n.*?(?=\n            /\* Call crypt one last time)}{            i = etm_crypt_offset;\n            if(session->local.crypt->crypt(session, 0, &p->outbuf[i],\n                                           packet_length - i,\n                                           &session->local.crypt_abstract,\n                                           CRYPT_FLAG_L(session, INTEGRATED_MAC) ?\n                                           FIRST_BLOCK : FIRST_BLOCK | LAST_BLOCK))\n                return LIBSSH2_ERROR_ENCRYPT;\n}s'
edit transport.c 1 \
	'$n += s{ssize_t decryptlen = LIBSSH2_MIN\(blocksize, len\);}{ssize_t decryptlen = IS_FIRST(firstlast) ?\n            LIBSSH2_MIN(blocksize, len) : len;}'
edit transport.c 1 \
	'$n += s{\(\(len <= blocksize\) \? firstlast : MIDDLE_BLOCK\)}{firstlast}'

# A ping that the server must answer, and reading without a channel, so that answers, the server's own pings and its end are seen on a
# connection that nobody uses. Answers to global requests come in order: a ping's is not kept for whoever asks for a forward next.
edit libssh2_priv.h 1 \
	'$n += s{(    time_t keepalive_last_sent;\n)}{$1    unsigned int pings_unanswered;\n}'
edit packet.c 1 \
	'$n += s{(        case SSH_MSG_GLOBAL_REQUEST:\n)}{        case SSH_MSG_REQUEST_SUCCESS:\n        case SSH_MSG_REQUEST_FAILURE:\n            if(!session->pings_unanswered)\n                break;\n            session->pings_unanswered--;\n            LIBSSH2_FREE(session, data);\n            session->packAdd_state = libssh2_NB_state_idle;\n            return 0;\n\n$1}'
edit keepalive.c 1 \
	'$n += s{\z}{\nLIBSSH2_API int\nlibssh2_session_ping(LIBSSH2_SESSION *session)\n{\n    static const unsigned char ping[] = "\\x50\\x00\\x00\\x00\\x15keepalive\@openssh.com\\x01";\n    int rc = _libssh2_transport_send(session, ping, sizeof(ping) - 1, NULL, 0);\n\n    if(!rc)\n        session->pings_unanswered++;\n    return rc;\n}\n\nLIBSSH2_API int\nlibssh2_session_read(LIBSSH2_SESSION *session)\n{\n    int rc;\n\n    do\n        rc = _libssh2_transport_read(session);\n    while(rc > 0);\n    return rc == LIBSSH2_ERROR_EAGAIN ? 0 : rc;\n}\n}'
edit ../include/libssh2.h 1 \
	'$n += s{(LIBSSH2_API int libssh2_keepalive_send\(.*?\);\n)}{$1\nLIBSSH2_API int libssh2_session_ping(LIBSSH2_SESSION *session);\nLIBSSH2_API int libssh2_session_read(LIBSSH2_SESSION *session);\n}s'
