// The control server and relay for tests, out of Tailscale's own module, so that two tailscaled can meet without anybody's
// service. Only the first packets cross the relay.
//
//	tscontrol -listen IP:PORT
package main

import (
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"tailscale.com/derp/derpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

func main() {
	listen := flag.String("listen", "", "IP:PORT")
	flag.Parse()
	relay := httptest.NewUnstartedServer(derpserver.Handler(derpserver.New(key.NewNode(), logger.Discard)))
	relay.StartTLS()
	ip, _, err := net.SplitHostPort(*listen)
	if err != nil {
		log.Fatal(err)
	}
	control := &testcontrol.Server{
		Logf:             logger.Discard,
		AllNodesSameUser: true,
		AllOnline:        true,
		ExplicitBaseURL:  "http://" + *listen,
		DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: {
			RegionID:   1,
			RegionCode: "test",
			Nodes: []*tailcfg.DERPNode{{
				Name: "t1", RegionID: 1, HostName: ip, IPv4: ip, IPv6: "none", STUNPort: -1,
				DERPPort: relay.Listener.Addr().(*net.TCPAddr).Port, InsecureForTests: true,
			}},
		}}},
	}
	log.Fatal(http.ListenAndServe(*listen, control))
}
