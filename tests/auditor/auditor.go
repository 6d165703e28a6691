// An auditor who has nothing of keyledger's: a client of C2SP tlog-tiles by other makers.
//
// Usage: auditor PREFIX VKEY FOLDER. It fetches the newest checkpoint and all entries, checks them
// against each other, then every pair FOLDER/<name>.tlog-proof and FOLDER/<name>.payload, then
// FOLDER/old.checkpoint with FOLDER/consistency, one hash a line. It prints what it has seen: the
// size, then each entry in hex.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := audit(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func audit(prefix, vkey, folder string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	policy := torchwood.ThresholdPolicy(2,
		torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	fetcher, err := torchwood.NewTileFetcher(prefix)
	if err != nil {
		return err
	}
	ctx := context.Background()
	signed, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return err
	}
	newest, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	fmt.Println(newest.N)
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		return err
	}
	for _, entry := range client.AllEntries(ctx, newest.Tree, 0) {
		fmt.Printf("%x\n", entry)
	}
	if err := client.Err(); err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	if err := checkProofs(policy, folder); err != nil {
		return err
	}
	return checkConsistency(policy, newest, folder)
}

func checkProofs(policy torchwood.Policy, folder string) error {
	proofs, err := filepath.Glob(filepath.Join(folder, "*.tlog-proof"))
	if err != nil || len(proofs) == 0 {
		return errors.Join(err, errors.New("there are proofs"))
	}
	for _, path := range proofs {
		proof, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		payload, err := os.ReadFile(strings.TrimSuffix(path, "tlog-proof") + "payload")
		if err != nil {
			return err
		}
		if err := torchwood.VerifyProof(policy, recordOf(payload), proof); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if torchwood.VerifyProof(policy, recordOf(append(payload, ' ')), proof) == nil {
			return fmt.Errorf("%s holds for another payload too", path)
		}
	}
	return nil
}

// The entry is SHA-256 of the stored payload.
func recordOf(payload []byte) tlog.Hash {
	entry := sha256.Sum256(payload)
	return tlog.RecordHash(entry[:])
}

func checkConsistency(policy torchwood.Policy, newest torchwood.Checkpoint, folder string) error {
	signed, err := os.ReadFile(filepath.Join(folder, "old.checkpoint"))
	if err != nil {
		return err
	}
	old, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		return fmt.Errorf("old checkpoint: %w", err)
	}
	lines, err := os.ReadFile(filepath.Join(folder, "consistency"))
	if err != nil {
		return err
	}
	var proof tlog.TreeProof
	for _, line := range strings.Fields(string(lines)) {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return err
		}
		proof = append(proof, tlog.Hash(hash))
	}
	if err := tlog.CheckTree(proof, newest.N, newest.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("consistency of %d with %d: %w", old.N, newest.N, err)
	}
	return nil
}
