import { Alert, Anchor, Button, TextInput } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { requestPasswordReset } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { useSubmission } from './useSubmission'

/** Asks for a mail with a link. What it says is the same whether or not there is such an account. */
export default function ForgotRoute() {
  const { t } = useTranslation()
  const [email, setEmail] = useState('')
  const [sent, setSent] = useState<{ mailDelayed: boolean }>()
  const { submit, error, busy } = useSubmission(async () => setSent(await requestPasswordReset(email)))

  usePageTitle(t('forgot.title'))

  return (
    <AccessCard title={t('forgot.title')} subtitle={t('forgot.hint')} error={error} onSubmit={submit}>
      {sent ? (
        <Alert color="green" role="status">
          {t('forgot.sent', { email })}
          {sent.mailDelayed && ` ${t('signUp.delayed')}`}
        </Alert>
      ) : (
        <>
          <TextInput
            label={t('login.email')}
            type="email"
            autoComplete="username"
            value={email}
            onChange={(event) => setEmail(event.currentTarget.value)}
            required
            autoFocus
          />
          <Button type="submit" loading={busy} fullWidth mt="xs">
            {t('forgot.submit')}
          </Button>
        </>
      )}
      <Anchor component={Link} to="/login" size="sm">
        {t('signUp.toLogin')}
      </Anchor>
    </AccessCard>
  )
}
