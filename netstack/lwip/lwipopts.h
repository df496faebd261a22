/*
 * netstack/lwip/lwipopts.h - lwIP's configuration. doc/netstack.md gives the reasons at length.
 *
 * Raw API in one thread, layer 3 only, TCP and UDP and ICMP, memory from malloc under limits of our own.
 */
#ifndef NETSTACK_LWIP_OPTS_H
#define NETSTACK_LWIP_OPTS_H

#include <stddef.h>
#include <stdint.h>

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TIMERS 0 /* netstack/timer.c: no walk over all connections */
#define LWIP_STATS 0

/* Memory: pools would fix limits at compile time; net.c holds the limits. */
#define MEM_CUSTOM_ALLOCATOR 1
void *net_lwip_malloc(size_t size);
void *net_lwip_calloc(size_t n, size_t size);
void net_lwip_free(void *p);
#define MEM_CUSTOM_MALLOC net_lwip_malloc
#define MEM_CUSTOM_CALLOC net_lwip_calloc
#define MEM_CUSTOM_FREE net_lwip_free
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 8
#define MEMP_NUM_SYS_TIMEOUT 16
#define MEMP_NUM_TCP_PCB 65535
#define MEMP_NUM_TCP_SEG 65535
#define LWIP_PBUF_REF_T uint16_t
#define LWIP_SUPPORT_CUSTOM_PBUF 1

/* Nothing below IP: the interface is a tunnel. */
#define LWIP_ARP 0
#define LWIP_ETHERNET 0
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_ACD 0
#define LWIP_IGMP 0
#define LWIP_DNS 0
#define LWIP_RAW 0
#define LWIP_HAVE_LOOPIF 0
#define LWIP_NETIF_LOOPBACK 0
#define IP_FORWARD 0
#define IP_REASSEMBLY 0
#define IP_FRAG 0
#define IP_OPTIONS_ALLOWED 0

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_IPV6_NUM_ADDRESSES 8
#define LWIP_IPV6_FORWARD 0
#define LWIP_IPV6_FRAG 0
#define LWIP_IPV6_REASS 0
#define LWIP_IPV6_MLD 0
#define LWIP_IPV6_AUTOCONFIG 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_IPV6_DHCP6 0
#define LWIP_IPV6_SCOPES 0
#define LWIP_ND6_TCP_REACHABILITY_HINTS 0
#define LWIP_ND6_ALLOW_RA_UPDATES 0
#define LWIP_ND6_QUEUEING 0

#define LWIP_ICMP 1
#define LWIP_ICMP6 1
#define LWIP_UDP 1
#define LWIP_TCP 1

/* TCP */
#define TCP_MSS 1380
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 10
#define TCP_WND (32u << 20)
#define TCP_SND_BUF (40u << 20) /* lwIP counts its buffers in 16 bits */
#define TCP_SND_QUEUELEN 65000
#define TCP_SNDLOWAT 32768
#define TCP_SNDQUEUELOWAT 64
#define TCP_WND_UPDATE_THRESHOLD (16u << 10)
#define TCP_OVERSIZE TCP_MSS
#define TCP_QUEUE_OOSEQ 1
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_TIMESTAMPS 0
#define LWIP_TCP_RTO_TIME 1000 /* RFC 6298 */
#define TCP_TMR_INTERVAL 50    /* lwIP's ticks are twice that; only tcp_ticks is left of them (timer.c) */
#define TCP_LISTEN_BACKLOG 0   /* listen.c limits; lwIP's own stops at 255 */
#define LWIP_TCP_PCB_NUM_EXT_ARGS 0
#define LWIP_TCP_KEEPALIVE 0
#define SO_REUSE 1

/* The AEAD has authenticated every inbound packet; outbound ones carry full checksums. */
#define CHECKSUM_CHECK_IP 0
#define CHECKSUM_CHECK_TCP 0
#define CHECKSUM_CHECK_UDP 0
#define CHECKSUM_CHECK_ICMP 0
#define CHECKSUM_CHECK_ICMP6 0
#define LWIP_CHECKSUM_ON_COPY 0
uint16_t net_checksum(const void *p, int len);
#define LWIP_CHKSUM net_checksum

struct ip4_addr;
struct ip6_addr;
struct ip_addr;
struct tcp_pcb;
struct net_pcb;
uint32_t net_lwip_isn(const void *local_ip, uint16_t local_port, const void *remote_ip, uint16_t remote_port);
/* At the end of tcp_input() in place of tcp_output(): what a batch gives rise to goes out once. */
void net_lwip_input_done(void *pcb);
int net_lwip_tcp_options(void *pcb, const void *hdr, uint16_t len, uint16_t len1, const void *rest);
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, hdr, len, len1, rest, p) net_lwip_tcp_options(pcb, hdr, len, len1, rest)
#define LWIP_HOOK_TCP_ISN(lip, lport, rip, rport) net_lwip_isn(lip, lport, rip, rport)

/* Called from places that third_party/lwip-edit.sh makes: demux.c, ooseq.c */
struct net_pcb *net_lwip_pcb_new(struct tcp_pcb *pcb);
void net_lwip_pcb_free(struct net_pcb *n);
void net_lwip_reg(struct tcp_pcb **list, struct tcp_pcb *pcb);
void net_lwip_rmv(struct tcp_pcb *pcb);
struct tcp_pcb *net_lwip_find(void *netif, const void *local_ip, uint16_t local_port, const void *remote_ip,
			      uint16_t remote_port);
void net_lwip_out_of_order(void *pcb, void *seg);
void net_lwip_prefetch(const void *seg);
void net_lwip_outside(void *pcb, uint32_t from, uint16_t len);

#endif
