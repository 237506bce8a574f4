package bench

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A bare go-plugin gRPC call: the health check that every gRPC plugin serves, over the connection that
// go-plugin itself makes.

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "OCAPKERNEL_BENCH", MagicCookieValue: "1"}

// emptyPlugin serves nothing beyond go-plugin's own services.
type emptyPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (emptyPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (emptyPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

func pluginChild() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake, Plugins: plugin.PluginSet{"empty": emptyPlugin{}},
		GRPCServer: plugin.DefaultGRPCServer, Logger: hclog.NewNullLogger(),
	})
}

// BenchmarkFloorPluginGRPC is a unary call over go-plugin's gRPC: which a frame each way replaces.
func BenchmarkFloorPluginGRPC(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=plugin")
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: handshake, Plugins: plugin.PluginSet{"empty": emptyPlugin{}}, Cmd: cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := protocol.Dispense("empty")
	if err != nil {
		b.Fatal(err)
	}
	health := grpc_health_v1.NewHealthClient(raw.(*grpc.ClientConn))
	var lat []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := health.Check(b.Context(), &grpc_health_v1.HealthCheckRequest{Service: "plugin"}); err != nil {
			b.Fatal(err)
		}
		lat = append(lat, time.Since(start))
	}
	reportLatency(b, lat)
}
