// Makes, verifies and revokes a key by the client that oapi-codegen has generated.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"keyledger.example/client/api"
)

func check(held bool, what any) {
	if !held {
		panic(fmt.Sprintf("%+v", what))
	}
}

func need(err error) {
	check(err == nil, err)
}

func main() {
	organization := os.Getenv("KEYLEDGER_ORGANIZATION")
	authorized := api.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("KEYLEDGER_KEY"))
		return nil
	})
	client, err := api.NewClientWithResponses(os.Getenv("KEYLEDGER_URL"), authorized)
	need(err)
	ctx := context.Background()

	days, metadata := int32(30), api.Metadata{"team": "build"}
	made, err := client.ApiKeysCreateWithResponse(ctx, organization, nil, api.ApiKeyCreateRequest{
		Name: "CI", Scopes: []string{"cases:read"}, ExpiresInDays: &days, Metadata: &metadata,
	})
	need(err)
	check(made.JSON201 != nil, string(made.Body))
	key, raw := made.JSON201.Key, made.JSON201.RawKey
	check(key.Metadata["team"] == "build" && key.Ended == nil, key)

	scopes := []string{"cases:read"}
	verified := func() *api.VerifyResponse {
		answer, err := client.VerificationVerifyWithResponse(ctx, nil, api.VerifyRequest{
			Key: *raw, RequiredScopes: &scopes,
		})
		need(err)
		check(answer.JSON200 != nil, string(answer.Body))
		return answer.JSON200
	}
	good := verified()
	check(good.Valid && good.Code == "valid" && good.Key.Id == key.Id, good)
	reason := "done"
	revoked, err := client.ApiKeysRevokeWithResponse(ctx, organization, key.Id, nil,
		api.RevokeRequest{Reason: &reason})
	need(err)
	check(revoked.JSON200 != nil && revoked.JSON200.Status == "revoked", string(revoked.Body))
	bad := verified()
	check(!bad.Valid && bad.Code == "revoked", bad)

	limit := 10
	listed, err := client.ApiKeysListWithResponse(ctx, organization,
		&api.ApiKeysListParams{Limit: &limit})
	need(err)
	check(listed.JSON200 != nil && len(*listed.JSON200) > 0, string(listed.Body))
	refused, err := client.ApiKeysCreateWithResponse(ctx, organization, nil,
		api.ApiKeyCreateRequest{Name: "", Scopes: scopes})
	need(err)
	problem := refused.ApplicationproblemJSON4XX
	check(problem != nil && problem.Code == "field_empty", string(refused.Body))
	fmt.Println("made, verified and revoked")
}
