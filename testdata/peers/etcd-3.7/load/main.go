// Loads a server on loopback as a busy cluster would: keys appear, change and go, and history is compacted on the way.
//
//	load -endpoint URL -revisions N -keys N -values MIN-MAX -seed N
//
// Each operation is a revision of its own. The same words draw the same operations; clients work side by side, so the
// order in which neighbours arrive is the server's.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

type operation struct {
	key    int
	delete bool
	size   int
	start  int
}

func name(key int) string {
	kinds := []string{"pods", "configmaps", "secrets", "events", "leases", "endpointslices"}
	return fmt.Sprintf("/registry/%s/ns-%03d/object-%07d", kinds[key%len(kinds)], key/7%200, key)
}

func main() {
	endpoint := flag.String("endpoint", "127.0.0.1:2379", "the server's client address")
	revisions := flag.Int("revisions", 1_600_000, "operations, each a revision")
	keys := flag.Int("keys", 1_000_000, "keys that are made")
	values := flag.String("values", "100-3000", "bytes of a value, least and most")
	seed := flag.Uint64("seed", 1, "of the random numbers")
	flag.Parse()
	var least, most int
	if _, err := fmt.Sscanf(*values, "%d-%d", &least, &most); err != nil || least < 1 || most < least {
		log.Fatalf("values %q, expected MIN-MAX", *values)
	}
	deletions := *keys / 5
	if *revisions < *keys+deletions {
		log.Fatalf("%d revisions, expected %d or more for %d keys", *revisions, *keys+deletions, *keys)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{*endpoint},
		DialTimeout: 30 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		log.Fatal(err)
	}
	random := rand.New(rand.NewPCG(*seed, 0))
	// What values are cut from: text that compresses like objects do, so that nobody gains by zeroes.
	text := make([]byte, 1<<20)
	for at := range text {
		text[at] = "abcdefghijklmnopqrstuvwxyz0123456789\":{},"[random.IntN(41)]
	}
	operations := make(chan operation, 1024)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for next := range operations {
				var err error
				if next.delete {
					_, err = client.Delete(context.Background(), name(next.key))
				} else {
					value := string(text[next.start : next.start+next.size])
					_, err = client.Put(context.Background(), name(next.key), value)
				}
				if err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	var alive []int
	made, deleted := 0, 0
	for done := 0; done < *revisions; done++ {
		left := *revisions - done
		draw := random.IntN(left)
		switch {
		case draw < *keys-made || len(alive) == 0:
			operations <- operation{key: made, size: least + random.IntN(most-least+1), start: random.IntN(len(text) - most)}
			alive = append(alive, made)
			made++
		case draw < *keys-made+deletions-deleted:
			at := random.IntN(len(alive))
			operations <- operation{key: alive[at], delete: true}
			alive[at] = alive[len(alive)-1]
			alive = alive[:len(alive)-1]
			deleted++
		default:
			operations <- operation{key: alive[random.IntN(len(alive))], size: least + random.IntN(most-least+1), start: random.IntN(len(text) - most)}
		}
		if done == *revisions*6/10 {
			// Behind what may still be under way: the server refuses a revision it has not reached.
			if _, err := client.Compact(context.Background(), int64(max(done-2048, 1))); err != nil {
				log.Fatal(err)
			}
		}
	}
	close(operations)
	workers.Wait()
	fmt.Printf("%d revisions, %d keys made, %d deleted\n", *revisions, made, deleted)
}
