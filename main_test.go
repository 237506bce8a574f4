package ocapkernel_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"ocapkernel.dev"
	"ocapkernel.dev/examples/repl"
	"ocapkernel.dev/vat"
)

// The test binary is its own worker program, as a program that embeds the kernel may be, and the program that
// is killed.
func TestMain(m *testing.M) {
	modules := repl.Modules()
	modules["user"] = func() *User { return &User{} }
	ocapkernel.Worker(modules)
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
		return
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// User is a vat whose methods let a test use the vat's services.
type User struct {
	vat.Durable
	Services map[string]vat.Ref
	Kept     vat.Ref
}

// Bootstrap takes the services, and answers how many they are.
func (u *User) Bootstrap(_ map[string]vat.Ref, services map[string]vat.Ref) int {
	u.Services = services
	return len(services)
}

// Ask calls a service. The answer is passed on as it comes: no turn waits for it.
func (u *User) Ask(ctx context.Context, service, method string, args []any) vat.Promise {
	return vat.Send(ctx, u.Services[service], method, args...)
}

// Keep calls a service and keeps the object that it answers with.
func (u *User) Keep(ctx context.Context, service, method string) (err error) {
	u.Kept, err = vat.Call[vat.Ref](ctx, u.Services[service], method)
	return err
}

// AskKept calls the object that was kept.
func (u *User) AskKept(ctx context.Context, method string) vat.Promise {
	return vat.Send(ctx, u.Kept, method)
}

// Burst sends so many messages at once and waits for all of them.
func (u *User) Burst(ctx context.Context, service, method string, n int) error {
	var all []vat.Promise
	for i := range n {
		all = append(all, vat.Send(ctx, u.Services[service], method, i))
	}
	_, err := vat.Await[[]any](ctx, vat.All(ctx, all...))
	return err
}

// Hello is for others to call.
func (u *User) Hello(name string) string { return "hello, " + name }

// Make returns an object that no other vat has.
func (u *User) Make() *Thing { return &Thing{Name: "made"} }

// Thing is an object of the vat.
type Thing struct {
	vat.Durable
	Name string
}

// Say returns the name.
func (t *Thing) Say() string { return t.Name }

// embedded is a kernel in this process, and the end of its Run.
type embedded struct {
	*ocapkernel.Kernel
	stop  context.CancelFunc
	ended chan error
	over  bool
}

// start runs a kernel whose vats this program contains.
func start(t *testing.T, o ocapkernel.Options) *embedded {
	t.Helper()
	o.Durability = "process" // these tests need no writes to the disk
	if testing.Verbose() && o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	k, err := ocapkernel.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &embedded{Kernel: k, stop: stop, ended: make(chan error, 1)}
	go func() { e.ended <- k.Run(ctx) }()
	t.Cleanup(func() { e.end(t) })
	return e
}

// end stops the kernel in order, if it runs still.
func (e *embedded) end(t *testing.T) {
	t.Helper()
	e.stop()
	if e.over {
		return
	}
	e.over = true
	if err := <-e.ended; err != nil {
		t.Error(err)
	}
}

// ensure has the kernel run a user with these services.
func (e *embedded) ensure(t *testing.T, services string) ocapkernel.Subcluster {
	t.Helper()
	sub, err := e.Ensure(t.Context(), user(services))
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// user is the configuration of a user with services, given as JSON.
func user(services string) ocapkernel.LaunchRequest {
	return ocapkernel.LaunchRequest{
		Path: "/test/user.json", Config: fmt.Appendf(nil, `{"bootstrap":"user","vats":{"user":{"module":"user"}},"services":%s}`, services),
	}
}

// write makes a file.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
