package api

import (
	"errors"
	"io"
	"testing"

	pb "caracal.dev/caracal/proto"
)

// BenchmarkRoutes lists 100,000 paths over the socket.
func BenchmarkRoutes(b *testing.B) {
	const n = 100_000
	path := b.TempDir() + "/s"
	start(b, &fakeAgent{routes: n}, path)
	show := pb.NewShowClient(dial(b, path))
	b.ReportAllocs()
	for b.Loop() {
		stream, err := show.ListRoutes(b.Context(), &pb.RoutesRequest{})
		if err != nil {
			b.Fatal(err)
		}
		got := 0
		for {
			page, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			got += len(page.Paths)
		}
		if got != n {
			b.Fatalf("%d paths", got)
		}
	}
}
