import { Alert, Anchor, Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { verifyEmail } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { useSubmission } from './useSubmission'

/** Where the link in a mail leads. A click, and not the visit alone: mail scanners follow links. */
export default function VerifyRoute() {
  const { t } = useTranslation()
  const [token] = useState(() => location.hash.slice(1))
  const [email, setEmail] = useState<string>()
  const { submit, error, busy } = useSubmission(async () => setEmail(await verifyEmail(token)))

  usePageTitle(t('login.verify'))

  return (
    <AccessCard title={t('login.verify')} subtitle={t('login.verifyHint')} error={error} onSubmit={submit}>
      {!token && <Alert color="yellow">{t('login.badLink')}</Alert>}
      {email ? (
        <>
          <Alert color="green">{t('login.verified', { email })}</Alert>
          <Anchor component={Link} to="/login">
            {t('login.submit')}
          </Anchor>
        </>
      ) : (
        <Button type="submit" loading={busy} disabled={!token} fullWidth mt="xs">
          {t('login.verifySubmit')}
        </Button>
      )}
    </AccessCard>
  )
}
