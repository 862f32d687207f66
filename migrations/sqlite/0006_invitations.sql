-- Invitations into homes, which wait until the invited user accepts. Until then the user has nothing of the home.

CREATE TABLE home_invitation (
    home_id    INTEGER NOT NULL REFERENCES home,
    user_no    INTEGER NOT NULL REFERENCES app_user,  -- who is invited
    by_no      INTEGER NOT NULL REFERENCES app_user,  -- who invites
    is_admin   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (home_id, user_no)
) WITHOUT ROWID;
CREATE INDEX home_invitation_user ON home_invitation (user_no, created_ms);
CREATE INDEX home_invitation_by ON home_invitation (by_no, user_no);

-- The owner of a home is no member of it besides.
DELETE FROM home_member WHERE user_no = (SELECT owner_no FROM home WHERE home.home_id = home_member.home_id);
