package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// feedCmd holds the commands about a tenant's feed on NATS.
type feedCmd struct {
	User feedUserCmd `cmd:"" help:"Manage who reads the feed."`
}

type feedUserCmd struct {
	List   feedUserListCmd   `cmd:"" help:"List users, newest first."`
	Create feedUserCreateCmd `cmd:"" help:"Make a user, and write its credentials to a file."`
	Rotate feedUserRotateCmd `cmd:"" help:"Give a user new credentials; the old ones end at once."`
	Revoke feedUserRevokeCmd `cmd:"" help:"End a user for good; its connections are cut."`
}

func (r *remote) feedUser(name string) string { return r.name(name, rpc.FeedUserName) }

func (c *connection) showFeedUser(u *tenantv1.FeedUser, file string) error {
	return c.show(u,
		"user", lastPart(u.GetName()), "name", u.GetDisplayName(), "public key", u.GetPublicKey(), "credentials", file,
		"created", when(u.GetCreateTime()), "expires", when(u.GetExpireTime()), "revoked", when(u.GetRevokeTime()))
}

type feedUserListCmd struct {
	remote `embed:""`
}

// Run is called by kong.
func (c *feedUserListCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		l := conn.list("USER", "NAME", "CREATED", "EXPIRES", "REVOKED")
		return l.end(all(0, func(token string) ([]*tenantv1.FeedUser, string, error) {
			resp, err := conn.feeds.ListFeedUsers(ctx, &tenantv1.ListFeedUsersRequest{Parent: c.parent(), PageToken: token})
			return resp.GetFeedUsers(), resp.GetNextPageToken(), err
		}, func(u *tenantv1.FeedUser) error {
			return l.add(u, lastPart(u.GetName()), u.GetDisplayName(), when(u.GetCreateTime()), when(u.GetExpireTime()), when(u.GetRevokeTime()))
		}))
	})
}

// credentialsFile is where credentials are written to.
type credentialsFile struct {
	Out     string        `env:"-" type:"path" placeholder:"FILE" help:"File for the credentials, which must not be there; USER.creds when absent."`
	Expires time.Duration `env:"-" default:"0s" help:"How long the credentials are taken, such as 720h; 0s means for ever, or, of a rotation, until the old ones would have ceased."`
}

func (f credentialsFile) until() *timestamppb.Timestamp {
	if f.Expires == 0 {
		return nil
	}
	return timestamppb.New(time.Now().Add(f.Expires))
}

// reserve makes sure of the file before there is something to lose.
func (f credentialsFile) reserve() (*os.File, error) {
	if f.Out == "" {
		return nil, nil //nolint:nilnil // its name isn't known yet
	}
	return os.OpenFile(f.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func write(file *os.File, name, credentials string) (string, error) {
	if file == nil {
		var err error
		if file, err = os.OpenFile(name+".creds", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return "", fmt.Errorf("the user %s is made and its credentials can't be written; rotate it with --out: %w", name, err)
		}
	}
	_, err := file.WriteString(credentials)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", fmt.Errorf("the user %s is made and its credentials can't be written; rotate it: %w", name, err)
	}
	return file.Name(), nil
}

type feedUserCreateCmd struct {
	remote          `embed:""`
	credentialsFile `embed:""`

	Name string `arg:"" optional:"" help:"A name for people."`
}

// Run is called by kong.
func (c *feedUserCreateCmd) Run() error {
	file, err := c.reserve()
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.feeds.CreateFeedUser(ctx, &tenantv1.CreateFeedUserRequest{
			Parent: c.parent(), FeedUser: &tenantv1.FeedUser{DisplayName: c.Name, ExpireTime: c.until()},
		})
		if err != nil {
			return errors.Join(err, drop(file))
		}
		name, err := write(file, lastPart(resp.GetFeedUser().GetName()), resp.GetCredentials())
		if err != nil {
			return err
		}
		return conn.showFeedUser(resp.GetFeedUser(), name)
	})
}

// drop removes a file that got no content.
func drop(file *os.File) error {
	if file == nil {
		return nil
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

type oneFeedUser struct {
	remote `embed:""`

	User string `arg:"" help:"Its id, such as fu_018f3c5e7b2a7c3d, or name."`
}

type feedUserRotateCmd struct {
	oneFeedUser     `embed:""`
	credentialsFile `embed:""`
}

// Run is called by kong.
func (c *feedUserRotateCmd) Run() error {
	file, err := c.reserve()
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.feeds.RotateFeedUser(ctx, &tenantv1.RotateFeedUserRequest{Name: c.feedUser(c.User), ExpireTime: c.until()})
		if err != nil {
			return errors.Join(err, drop(file))
		}
		name, err := write(file, lastPart(resp.GetFeedUser().GetName()), resp.GetCredentials())
		if err != nil {
			return err
		}
		return conn.showFeedUser(resp.GetFeedUser(), name)
	})
}

type feedUserRevokeCmd struct {
	oneFeedUser `embed:""`
}

// Run is called by kong.
func (c *feedUserRevokeCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.feeds.RevokeFeedUser(ctx, &tenantv1.RevokeFeedUserRequest{Name: c.feedUser(c.User)})
		if err != nil {
			return err
		}
		return conn.showFeedUser(resp.GetFeedUser(), "")
	})
}
