// wireguard-go's tun/netstack behind a local port: what wireproxy is made of, with nothing around it.
//
//	netstack -key HEX -peer HEX -listen PORT -addr IP -allow IP [-endpoint IP:PORT] -serve PORT:IP:PORT
//	netstack ... -forward IP:PORT:IP:PORT
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
)

func pump(a, b net.Conn) {
	done := make(chan struct{}, 2)
	half := func(to, from net.Conn) {
		io.Copy(to, from)
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
		done <- struct{}{}
	}
	go half(a, b)
	go half(b, a)
	<-done
	<-done
	a.Close()
	b.Close()
}

// join accepts on l and dials the other side for each connection.
func join(l net.Listener, dial func() (net.Conn, error)) {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			d, err := dial()
			if err != nil {
				c.Close()
				return
			}
			pump(c, d)
		}()
	}
}

func main() {
	key := flag.String("key", "", "private key, hex")
	peer := flag.String("peer", "", "peer's public key, hex")
	listen := flag.Int("listen", 0, "UDP port")
	addr := flag.String("addr", "", "inner address")
	allow := flag.String("allow", "", "peer's inner address")
	endpoint := flag.String("endpoint", "", "peer's endpoint")
	serve := flag.String("serve", "", "INNER-PORT:IP:PORT")
	forward := flag.String("forward", "", "IP:PORT:INNER-IP:INNER-PORT")
	flag.Parse()

	tun, tnet, err := netstack.CreateNetTUN([]netip.Addr{netip.MustParseAddr(*addr)}, nil, 1420)
	if err != nil {
		log.Fatal(err)
	}
	dev := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	set := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=%s/32\n", *key, *listen, *peer, *allow)
	if *endpoint != "" {
		set += "endpoint=" + *endpoint + "\n"
	}
	if err := dev.IpcSet(set); err != nil {
		log.Fatal(err)
	}
	if err := dev.Up(); err != nil {
		log.Fatal(err)
	}
	if *serve != "" {
		port, target, _ := strings.Cut(*serve, ":")
		l, err := tnet.ListenTCPAddrPort(netip.MustParseAddrPort(*addr + ":" + port))
		if err != nil {
			log.Fatal(err)
		}
		join(l, func() (net.Conn, error) { return net.Dial("tcp", target) })
	}
	p := strings.SplitN(*forward, ":", 4)
	if len(p) != 4 {
		log.Fatal("-serve or -forward is needed")
	}
	l, err := net.Listen("tcp", p[0]+":"+p[1])
	if err != nil {
		log.Fatal(err)
	}
	join(l, func() (net.Conn, error) {
		return tnet.DialContext(context.Background(), "tcp", p[2]+":"+p[3])
	})
}
