import { Button } from '@mantine/core'
import { IconMapQuestion } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useTranslation } from 'react-i18next'
import { Empty } from '../shared/Empty'

export default function NotFound() {
  const { t } = useTranslation()
  return (
    <Empty
      icon={IconMapQuestion}
      title={t('app.notFound')}
      hint={t('app.notFoundHint')}
      action={
        <Button component={Link} to="/" mt="sm">
          {t('app.home')}
        </Button>
      }
    />
  )
}
